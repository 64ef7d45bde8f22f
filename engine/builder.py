"""Builds, as by Docker's classic builder: one layer for each RUN, COPY, ADD and WORKDIR, and a cache."""

from __future__ import annotations

import copy as copying_of
import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine import copying, dockerfile, jail, names, trees, users
from engine.container import PATH, add_hosts
from engine.dockerfile import Instruction
from engine.errors import Refused, bad_request
from engine.machine import Machine
from engine.origins import Origin
from engine.runs import STDERR, Log, Run, now
from engine.settings import configure, default_platform
from engine.stages import PREDEFINED, Options, Stage, borrow_names
from engine.store import Layer, remove_tree
from engine.transfer import Say, pull


class Build:
    """One build. Its context is a folder."""

    def __init__(
        self, machine: Machine, context: Path, options: Options, say: Say, is_cancelled: Callable[[], bool]
    ) -> None:
        self._machine, self._store = machine, machine.store
        self._context, self._options, self._say = context, options, say
        self._is_cancelled = is_cancelled
        self._predefined = {k: v for k, v in options.arguments.items() if k in PREDEFINED and v is not None}
        self._globals: dict[str, str] = {}
        self._stages: list[Stage] = []
        self._stage_count = 0
        # The images that COPY --from names, as stages.
        self._images: dict[str, Stage] = {}
        self._used: set[str] = set()
        self._run: Run | None = None
        self._unsaid: list[str] = []

    def run(self) -> str:
        """Build and tag the image and return its id. Raises Refused with Docker's message for the step that failed."""
        tags = [names.parse(tag) for tag in self._options.tags]
        instructions = self._read()
        self._stage_count = sum(one.word == "FROM" for one in instructions)
        try:
            with self._store.in_use():
                for number, one in enumerate(instructions, 1):
                    self._print(f"Step {number}/{len(instructions)} : {one.line}\n")
                    if self._is_cancelled():
                        raise Refused("context canceled")
                    self._step(one)
                key = self._finish()
        except Refused:
            # A quiet build prints its steps only if it fails.
            for text in self._unsaid:
                self._say({"stream": text})
            raise
        finally:
            for stage in (*self._stages, *self._images.values()):
                if stage.tree is not None:
                    self._store.give_up(stage.tree)
        unused = sorted(set(self._options.arguments) - self._used - PREDEFINED)
        if unused:
            self._print(f"[Warning] One or more build-args {unused} were not consumed\n".replace("'", ""))
        self._say({"aux": {"ID": key}})
        if self._options.quiet:
            self._say({"stream": f"{key}\n"})
        self._print(f"Successfully built {key[7:19]}\n")
        for reference in tags:
            self._store.tag(reference, key)
            self._print(f"Successfully tagged {reference.tagged}\n")
        return key

    def _print(self, text: str) -> None:
        if self._options.quiet:
            self._unsaid.append(text)
        else:
            self._say({"stream": text})

    def _read(self) -> list[Instruction]:
        place = trees.resolve(self._context, self._options.dockerfile, last=True)
        if not place.is_file():
            raise Refused(f"Cannot locate specified Dockerfile: {self._options.dockerfile}")
        found = dockerfile.parse(place.read_text(errors="replace"), self._options.dockerfile)
        if self._options.target:
            found = dockerfile.until(found, self._options.target)
        return found

    def _finish(self) -> str:
        stage = self._stages[-1]
        if self._options.labels:
            stage.config["Labels"] = {**(stage.config.get("Labels") or {}), **self._options.labels}
            text = " ".join(f"{k}={v}" for k, v in sorted(self._options.labels.items()))
            self._commit(stage, f"{stage.nop}  LABEL {text}", None, f"labels {text}")
        if not stage.steps:
            return stage.image
        return self._store.add(stage.document(), stage.layers, stage.steps)

    # ---- steps

    def _step(self, one: Instruction) -> None:
        if one.word == "ARG":
            self._argument(one)
        elif one.word == "FROM":
            self._from(one)
        elif one.word == "RUN":
            self._run_step(self._stages[-1], one)
        elif one.word in ("COPY", "ADD"):
            self._copy_step(self._stages[-1], one)
        elif one.word == "WORKDIR":
            self._work_folder(self._stages[-1], one)
        else:
            stage = self._stages[-1]
            last = stage.history[-1].get("created_by", "") if stage.history else ""
            created_by = configure(one, stage.config, self._scope(stage), last)
            if one.word == "MAINTAINER":
                stage.author = one.rest
            self._commit(stage, f"{stage.nop}  {created_by}", None, created_by)

    def _argument(self, one: Instruction) -> None:
        scope = self._scope(self._stages[-1]) if self._stages else self._globals
        for text in dockerfile.words(one.rest, scope):
            name, equals, value = text.partition("=")
            given = self._options.arguments.get(name)
            self._used.add(name)
            target = self._stages[-1].arguments if self._stages else self._globals
            if given is not None:
                target[name] = given
            elif equals:
                target[name] = value
            elif self._stages and name in self._globals:
                target[name] = self._globals[name]
        if self._stages:
            self._commit(self._stages[-1], f"{self._stages[-1].nop}  ARG {one.rest}", None, f"ARG {one.rest}")

    def _from(self, one: Instruction) -> None:
        parts = dockerfile.words(one.rest, self._globals)
        if len(parts) not in (1, 3) or (len(parts) == 3 and parts[1].lower() != "as"):
            raise bad_request("FROM requires either one or three arguments")
        source, name = parts[0], parts[2].lower() if len(parts) == 3 else ""
        if not source:
            raise bad_request(f"base name ({one.rest}) should not be blank")
        platform = dockerfile.expand(one.flag("platform"), self._globals) or self._options.platform
        before = next((stage for stage in self._stages if stage.name and stage.name == source.lower()), None)
        if before is not None:
            stage = copying_of.deepcopy(before)
            stage.name, stage.arguments, stage.tree, stage.notes, stage.cached = name, {}, None, {}, True
            stage.seen = None
        elif source == "scratch":
            architecture = (platform or default_platform()).split("/")[1]
            stage = Stage(name, [], {"Env": [f"PATH={PATH}"]}, [], [], "", architecture)
        else:
            stage = self._base(source, name, platform)
        self._stages.append(stage)
        self._print(f" ---> {stage.image[7:19]}\n" if stage.image else " ---> \n")

    def _base(self, source: str, name: str, platform: str) -> Stage:
        found = None if self._options.pull else self._store.find(source)
        key = found or self._pull(source, platform or default_platform())
        config = copying_of.deepcopy(self._store.config(key))
        own = config.setdefault("config", {}) or {}
        config["config"] = own
        if not any(one.startswith("PATH=") for one in own.get("Env") or ()):
            own["Env"] = [*(own.get("Env") or ()), f"PATH={PATH}"]
        architecture = config.get("architecture", "amd64")
        if platform and platform.split("/")[1] != architecture:
            if found:
                self._pull(source, platform)
                return self._base(source, name, "")
            raise Refused(
                f"image with reference {source} was found but does not match the specified platform: "
                f"wanted {platform}, actual: linux/{architecture}"
            )
        image = self._store.images[key]
        history = list(config.get("history") or [])
        steps = list(image.steps) or ["<missing>"] * (len(history) - 1) + [key]
        return Stage(name, list(image.layers), config.get("config") or {}, history, steps, key, architecture)

    def _pull(self, source: str, platform: str) -> str:
        reference = names.parse(source)
        auth = self._options.auths.get(reference.host, {})
        return pull(self._store, reference, auth, platform, self._say)

    def _scope(self, stage: Stage) -> dict[str, str]:
        return {**self._predefined, **stage.arguments, **stage.environment}

    def _key(self, stage: Stage, what: str) -> str:
        """Return the cache key for the result of applying `what` to the stage in its present state."""
        config = {key: value for key, value in stage.config.items() if value}
        parts = [[layer.diff for layer in stage.layers], config, stage.image, stage.architecture, what]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _lookup(self, stage: Stage, key: str) -> dict[str, Any] | None:
        if self._options.no_cache or not stage.cached:
            return None
        found = self._store.recall(key)
        layer = found and found.get("layer")
        return found if found and (not layer or self._store.blob(layer["digest"]).exists()) else None

    def _commit(
        self, stage: Stage, created_by: str, make: Callable[[str], Layer] | None, what: str, key: str = ""
    ) -> None:
        """Add a step's history line, its layer if it makes one, and its id to the stage."""
        key = self._key(stage, f"{created_by} {what}")
        found = self._lookup(stage, key)
        if found is not None:
            self._print(" ---> Using cache\n")
            created = found["created"]
            layer = Layer(**found["layer"]) if found.get("layer") else None
            if layer is not None and stage.tree is not None:
                stage.seen = None
                trees.apply(self._store, layer, stage.tree, stage.notes)
        else:
            stage.cached = False
            identity = hashlib.sha256(f"{key}{now()}".encode()).hexdigest()[:12]
            copies = created_by.startswith((f"{stage.nop} COPY", f"{stage.nop} ADD"))
            if not copies:
                self._print(f" ---> Running in {identity}\n")
            layer = make(identity) if make is not None else None
            created = now()
            if not copies:
                self._print(f"Removing intermediate container {identity}\n")
        line: dict[str, Any] = {"created": created, "created_by": created_by}
        if layer is None:
            line["empty_layer"] = True
        else:
            stage.layers.append(layer)
        stage.history.append(line)
        step = f"sha256:{hashlib.sha256(stage.document()).hexdigest()}"
        stage.steps.append(step)
        stage.image = step
        if found is None:
            result: dict[str, Any] = {"created": created}
            if layer is not None:
                result["layer"] = asdict(layer)
            self._store.remember(key, result)
        self._print(f" ---> {step[7:19]}\n")

    def _tree(self, stage: Stage) -> Path:
        if stage.tree is None:
            tree = self._store.temporary("stage")
            keep = len(stage.layers) == stage.base_length(self._store.images)
            stage.notes = self._machine.roots.make(stage.layers, tree, keep=keep)
            stage.tree = tree
        return stage.tree

    def _changed(
        self, stage: Stage, work: Callable[[Path], None], owner: tuple[int, int], volumes: Sequence[str] = ()
    ) -> Layer:
        tree = self._tree(stage)
        before = trees.look(tree) if stage.seen is None else stage.seen
        stage.seen = None
        work(tree)
        # As with Docker, files that a step writes into a volume don't become part of the image.
        trees.drop_new(tree, before, volumes)
        archive = self._store.temporary("difference")
        after = trees.look(tree)
        held = trees.difference(tree, before, after, stage.notes, new_owner=owner, to=archive)
        stage.seen = after
        # Only the last stage's layers are likely to be pushed.
        return self._store.add_layer(archive, held=held, level=5 if len(self._stages) == self._stage_count else 1)

    # ---- the steps that make a layer

    def _run_step(self, stage: Stage, one: Instruction) -> None:
        listed = dockerfile.json_form(one.rest)
        shell = stage.config.get("Shell") or ["/bin/sh", "-c"]
        argv = listed if listed is not None else [*shell, *([one.rest] if one.rest else [])]
        given = {k: v for k, v in stage.arguments.items() if k not in stage.environment}
        listed_arguments = sorted(f"{k}={v}" for k, v in given.items() if k not in PREDEFINED)
        prefix = f"|{len(listed_arguments)} {' '.join(listed_arguments)} " if listed_arguments else ""
        created_by = prefix + " ".join(argv)
        environment = {"PATH": PATH, **self._predefined, **given, **stage.environment}

        def make(identity: str) -> Layer:
            tree = self._tree(stage)
            user = users.find(tree, stage.config.get("User") or "")
            work = stage.config.get("WorkingDir") or "/"
            full = {"HOSTNAME": identity, "HOME": user.home, **environment}
            users.program(tree, argv[0], full, work, [])
            process = jail.Process(tree, argv, full, work, user.uid, user.gid, list(user.groups))
            volumes = [path.strip("/") for path in stage.config.get("Volumes") or ()]

            def execute(tree: Path) -> None:
                for path in volumes:
                    copying.make_folder(tree, path, stage.notes, (0, 0))
                self._execute(process, argv)

            return self._changed(stage, execute, (user.uid, user.gid), volumes)

        self._commit(stage, created_by, make, "")

    def _execute(self, process: jail.Process, argv: list[str]) -> None:
        own = borrow_names(process.root)
        if self._options.hosts:
            add_hosts(trees.resolve(process.root, "etc/hosts", last=True), self._options.hosts)
        folder = self._store.temporary("run")
        folder.mkdir()
        log, ended = Log(folder / "log"), threading.Event()
        try:
            self._run = run = Run(
                process, self._machine.means, folder / "run", log, with_input=False, on_end=lambda _: ended.set()
            )
            for record in log.follow(0, run.over.is_set):
                if self._is_cancelled():
                    run.kill()
                    raise Refused("context canceled")
                if record is not None:
                    text = record.data.decode("utf-8", "replace")
                    # dockerd prints a step's stderr in red.
                    self._print(f"\x1b[91m{text}\x1b[0m" if record.stream == STDERR else text)
            code = run.exit_code
        finally:
            if self._run is not None:
                self._run.kill()
                self._run = None
            remove_tree(folder)
            for path, content in own.items():
                path.unlink(missing_ok=True)
                if content is not None:
                    path.write_bytes(content)
        if code != 0:
            raise Refused(f"The command '{' '.join(argv)}' returned a non-zero code: {code}", code=code)

    def _copy_step(self, stage: Stage, one: Instruction) -> None:
        scope = self._scope(stage)
        listed = dockerfile.json_form(one.rest)
        parts = (
            [dockerfile.expand(p, scope) for p in listed] if listed is not None else dockerfile.words(one.rest, scope)
        )
        if len(parts) < 2:
            raise bad_request(f"{one.word} requires at least two arguments, but only one was provided")
        if one.word == "ADD" and any(part.startswith(("http://", "https://", "git@")) for part in parts[:-1]):
            raise bad_request("the workbook's engine does not do this: ADD of what lies on a server")
        target = parts[-1]
        if not target.startswith("/"):
            work = (stage.config.get("WorkingDir") or "/").rstrip("/")
            target = f"{work}/{'' if target in ('.', './') else target}"
            target += "/" if parts[-1] == "." and not target.endswith("/") else ""
        origin = self._origin(one)
        digest, kind = origin.fingerprint(self._store, parts[:-1])
        chown = dockerfile.expand(one.flag("chown"), scope)
        # dockerd writes no blank between the two.
        given = f"--chown={chown}" if chown else ""
        created_by = f"{stage.nop} {one.word} {given}{kind}:{digest} in {parts[-1]} "

        def copy(tree: Path) -> None:
            user = users.owner(tree, chown) if chown else None
            owner = (user.uid, user.gid) if user else None if one.flag("from") else (0, 0)
            if chown and ":" not in chown and chown.isdigit():
                owner = (int(chown), int(chown))
            source, known = origin.lay_out()
            copier = copying.Copier(tree, stage.notes, owner, source, known)
            copier.copy(copying.sources(source, parts[:-1]), target, unpack=one.word == "ADD")

        self._commit(stage, created_by, lambda _: self._changed(stage, copy, (0, 0)), f"chown={chown}")

    def _origin(self, one: Instruction) -> Origin:
        name = one.flag("from")
        if not name:
            return Origin(None, lambda: (self._context, {}))
        found = next((stage for stage in self._stages[:-1] if stage.name and stage.name == name.lower()), None)
        if found is None and name.isdigit():
            if int(name) >= len(self._stages) - 1:
                raise bad_request(
                    f"invalid from flag value {name}: refers to current build block"
                    if int(name) == len(self._stages) - 1
                    else f"invalid from flag value {name}: not found"
                )
            found = self._stages[int(name)]
        if found is None:
            found = self._images.get(name)
        if found is None:
            try:
                found = self._images[name] = self._base(name, "", self._options.platform)
            except Refused as error:
                raise Refused(f"invalid from flag value {name}: {error}") from None
        stage = found
        return Origin(stage.layers, lambda: (self._tree(stage), stage.notes))

    def _work_folder(self, stage: Stage, one: Instruction) -> None:
        path = "".join(dockerfile.words(one.rest, self._scope(stage), split=False))
        if not path.startswith("/"):
            path = f"{(stage.config.get('WorkingDir') or '/').rstrip('/')}/{path}"
        path = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
        stage.config["WorkingDir"] = path

        def work(tree: Path) -> None:
            copying.make_folder(tree, path, stage.notes, (0, 0))

        self._commit(stage, f"{stage.nop} WORKDIR {path}", lambda _: self._changed(stage, work, (0, 0)), "")
