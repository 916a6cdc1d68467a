"""Checksums in records, and of the files that they answer for."""

import json

import pytest

from sg_hub.errors import ReadError
from training.run.folder.checksums import OWN, check_file, opened, sealed

RECORD = {"value": 0.1, "by_number": {10: "ten", 9: "nine"}, "items": ("a", "b"), "text": "Größe", "none": None}


def written(record):
    return json.loads(json.dumps(record))


def test_what_was_written_is_read():
    assert opened(written(sealed(RECORD))) == written(RECORD)
    assert opened(written(sealed(sealed(RECORD)))) == written(RECORD)
    assert opened({"of": "before"}) == {"of": "before"}


def test_no_flipped_bit_gives_another_record():
    text = json.dumps(sealed({"value": 0.1, "items": [1, 2]})).encode()
    other = 0
    for place in range(8 * len(text)):
        data = bytearray(text)
        data[place // 8] ^= 1 << place % 8
        try:
            record = json.loads(data)
        except ValueError:
            continue
        if OWN in record:  # else the bit is in the name of the checksum, and the values are as they were
            with pytest.raises(ValueError, match="its checksum is another"):
                opened(record)
            other += 1
        else:
            assert {"value": 0.1, "items": [1, 2]}.items() <= record.items()
    assert other > 100


def test_a_file_is_held_against_its_record(tmp_path):
    path, unknown = tmp_path / "patterns.csv", tmp_path / "other.csv"
    path.write_bytes(b"1,2,3\n")
    unknown.write_bytes(b"x")
    record = opened(written(sealed(RECORD, path)))
    check_file(record, path, "discover")
    check_file(record, unknown, "discover")
    check_file({}, path, "discover")
    path.write_bytes(b"1,2,7\n")
    with pytest.raises(ReadError, match=r"patterns\.csv is not what `sg-hub discover` recorded"):
        check_file(record, path, "discover")
    path.unlink()
    with pytest.raises(ReadError, match="cannot be read"):
        check_file(record, path, "discover")
