"""What all Google APIs share: method tables, JSON to protobuf, lists and pages, field masks, operations."""
