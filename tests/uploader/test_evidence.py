import base64
import hashlib
import zlib

import google_crc32c
import pytest

from uploader.destinations.evidence import evidence

BODY = b"nine shards make a stream"
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()


def in_base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


CHECKSUMS = {
    "sha256": in_base64(hashlib.sha256(BODY).digest()),
    "sha1": in_base64(hashlib.sha1(BODY, usedforsecurity=False).digest()),
    "crc32": in_base64(zlib.crc32(BODY).to_bytes(4, "big")),
    "crc32c": in_base64(google_crc32c.value(BODY).to_bytes(4, "big")),
}


@pytest.mark.parametrize("etag", [f'"{MD5}"', MD5, f'W/"{MD5}"', f'"{MD5.upper()}"'])
def test_an_etag_that_is_the_md5_confirms(etag: str) -> None:
    found = evidence({"etag": etag}, BODY)

    assert found.confirmed
    assert found.agrees == ("ETag",)


@pytest.mark.parametrize("name", CHECKSUMS)
def test_a_checksum_that_agrees_confirms(name: str) -> None:
    found = evidence({"etag": '"opaque"', f"x-amz-checksum-{name}": CHECKSUMS[name]}, BODY)

    assert found.confirmed
    assert found.agrees == (name,)
    assert found.checksums == {name: CHECKSUMS[name]}


@pytest.mark.parametrize("name", CHECKSUMS)
def test_a_checksum_of_other_bytes_contradicts_even_an_etag_that_agrees(name: str) -> None:
    other = in_base64(b"\0" * len(base64.b64decode(CHECKSUMS[name])))

    found = evidence({"etag": MD5, f"x-amz-checksum-{name}": other}, BODY)

    assert not found.confirmed
    assert found.agrees == ("ETag",)
    assert found.differs == (f"{name} {other} where the bytes sent have {CHECKSUMS[name]}",)


def test_an_etag_of_other_bytes_is_told_with_both_digests() -> None:
    found = evidence({"etag": f'"{"0" * 32}"'}, BODY)

    assert not found.confirmed
    assert "0" * 32 in found.differs[0]
    assert MD5 in found.differs[0]


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"etag": f'"{MD5}-2"'}, "an upload in parts"),
        ({"etag": '"0x8DB5C3A"'}, "a store that counts its versions"),
        (
            {"etag": f'"{"0" * 32}"', "x-amz-server-side-encryption": "aws:kms"},
            "encrypted by its owner",
        ),
        ({"etag": f'"{"0" * 32}"', "x-amz-server-side-encryption-customer-algorithm": "x"}, "likewise"),
        ({"etag": '"x"', "x-amz-checksum-crc32": f"{CHECKSUMS['crc32']}-2"}, "a checksum of parts"),
        ({"etag": '"x"', "x-amz-checksum-type": "FULL_OBJECT"}, "not a checksum"),
        ({"etag": '"x"', "x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}, "an algorithm that is not at hand"),
        ({}, "nothing"),
    ],
)
def test_what_cannot_be_compared_neither_confirms_nor_contradicts(headers: dict[str, str], why: str) -> None:
    found = evidence(headers, BODY)

    assert (found.agrees, found.differs) == ((), ()), why


def test_the_stores_names_for_the_request_are_kept() -> None:
    found = evidence({"x-amz-request-id": "1A", "x-amz-id-2": "b/c", "server": "x"}, BODY)

    assert found.request_ids == {"x-amz-request-id": "1A", "x-amz-id-2": "b/c"}
    assert found.is_a_stores
