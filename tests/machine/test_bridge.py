"""The bridge's subnet: nobody else's. The bridge itself is tested with the engine."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machine import bridge

TABLE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


def test_kernels_route_table_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.byteorder", "little")
    assert [str(one) for one in bridge.routes(TABLE)] == ["172.17.0.0/16", "192.0.2.0/24"]


@settings(deadline=None, max_examples=20)
@given(
    name=st.text(min_size=1, max_size=12),
    taken=st.lists(st.tuples(st.integers(0, 2**24 - 1), st.integers(9, 30)), max_size=8),
)
def test_subnet_overlaps_with_no_route(name: str, taken: list[tuple[int, int]]) -> None:
    others = [ipaddress.IPv4Network((10 << 24 | host, length), strict=False) for host, length in taken]
    try:
        found = bridge.free_subnet(name, others)
    except OSError:
        assert sum(one.num_addresses for one in ipaddress.collapse_addresses(others)) == 2**24
        return
    assert found.prefixlen == 24
    assert found.subnet_of(ipaddress.IPv4Network("10.0.0.0/8"))
    assert not any(found.overlaps(one) for one in others)
    assert bridge.free_subnet(name, [*others, found]) != found


def test_same_name_gets_the_same_subnet() -> None:
    assert bridge.free_subnet("wb-1", []) == bridge.free_subnet("wb-1", bridge.routes(TABLE))


def test_no_free_subnet_is_reported() -> None:
    with pytest.raises(OSError, match="is taken"):
        bridge.free_subnet("wb-1", [ipaddress.IPv4Network("10.0.0.0/8")])
