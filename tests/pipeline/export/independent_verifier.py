"""Checks a bundle of evidence. Written from docs/evidence.md alone, with nothing of Tachograph.

python independent_verifier.py BUNDLE [ID OF THE FIRST KEY]
"""

import base64
import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def need(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def read(bundle: Path) -> dict[str, bytes]:
    if bundle.is_dir():
        return {path.name: path.read_bytes() for path in bundle.iterdir()}
    with zipfile.ZipFile(bundle) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.decode("utf-8").split("\n") if line]


def signed(key: Ed25519PublicKey, context: str, found: dict[str, Any]) -> None:
    told = {name: value for name, value in found.items() if name != "signature"}
    body = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    signature = base64.b64decode(found["signature"], validate=True)
    key.verify(signature, context.encode() + b"\n" + body.encode("utf-8"))


def leaf(record: dict[str, Any]) -> bytes:
    topic = record["topic"].encode("utf-8")
    place = record["partition"].to_bytes(4, "big") + record["offset"].to_bytes(8, "big")
    begin = b"\x01" + len(topic).to_bytes(2, "big") + topic + place
    return sha(b"\x00", begin, record["record"].encode("utf-8"))


def climb(old: int, size: int, path: list[bytes], fr: bytes, sr: bytes) -> tuple[bytes, bytes]:
    """Both proofs go up the tree in the same way; of inclusion only `fr` and `sr` alike count."""
    fn, sn = old, size - 1
    for other in path:
        need(sn != 0, "the proof is too long")
        if fn & 1 or fn == sn:
            fr, sr = sha(b"\x01", other, fr), sha(b"\x01", other, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = sha(b"\x01", sr, other)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0, "the proof is too short")
    return fr, sr


def consistent(old: int, old_root: bytes, size: int, path: list[bytes]) -> tuple[bytes, bytes]:
    first, *others = path if old & (old - 1) else [old_root, *path]
    fn, last = old - 1, size - 1
    while fn & 1:
        fn, last = fn >> 1, last >> 1
    return climb(fn, last + 1, others, first, first)


def check(files: dict[str, bytes], first_key: str = "") -> int:
    """How many records hold. Raises when one does not."""
    for name, digest in json.loads(files["manifest.json"])["sha256"].items():
        need(hashlib.sha256(files[name]).hexdigest() == digest, f"{name} was changed")
    keys: dict[str, Ed25519PublicKey] = {}
    for found in lines(files["keys.ndjson"]):
        raw, name = base64.b64decode(found["public_key"], validate=True), found["key_id"]
        key = Ed25519PublicKey.from_public_bytes(raw)
        need(hashlib.sha256(raw).hexdigest()[:16] == name, f"key {name} has another name")
        need(bool(keys) or not first_key or name == first_key, "the first key is another one")
        signed(keys[found["signed_by"]] if keys else key, "tacho.notary_key.v1", found)
        keys[name] = key
    heads: dict[Any, dict[int, dict[str, Any]]] = {}
    for found in lines(files["heads.ndjson"]):
        signed(keys[found["key_id"]], "tacho.tree_head.v1", found)
        heads.setdefault(tree(found), {})[found["size"]] = found
    records = lines(files["records.ndjson"])
    for found in records:
        head = heads[tree(found)][found["tree_size"]]
        need(0 <= found["leaf_index"] < head["size"], "a leaf beyond its tree")
        path, made = [bytes.fromhex(p) for p in found["inclusion"]], leaf(found)
        _, root = climb(found["leaf_index"], head["size"], path, made, made)
        need(root.hex() == head["root"], f"record {found['offset']} of {tree(found)}")
    proved = {
        (tree(found), found["old_size"]): found for found in lines(files["consistency.ndjson"])
    }
    for which, mine in heads.items():
        for size in sorted(mine)[:-1]:
            proof, newest = proved[which, size], mine[max(mine)]
            need(proof["tree_size"] == newest["size"], "a proof to another tree")
            path, old = [bytes.fromhex(p) for p in proof["consistency"]], mine[size]["root"]
            roots = consistent(size, bytes.fromhex(old), newest["size"], path)
            need(roots == (bytes.fromhex(old), bytes.fromhex(newest["root"])), f"head of {size}")
    return len(records)


def tree(found: dict[str, Any]) -> tuple[str, str, int]:
    return found.get("cluster", ""), found["topic"], found["partition"]


if __name__ == "__main__":
    sys.stdout.write(f"{check(read(Path(sys.argv[1])), *sys.argv[2:3])} records hold\n")
