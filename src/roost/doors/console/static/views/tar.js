// Read a tar in memory: names, sizes, bytes. Enough for the files of a session.

const text = new TextDecoder();

function field(block, at, size) {
  const end = block.indexOf(0, at);
  return text.decode(block.subarray(at, end < 0 || end > at + size ? at + size : end));
}

function sizeOf(block) {
  if (block[124] & 0x80) return block.subarray(125, 136).reduce((sum, byte) => sum * 256 + byte, 0);
  return Number.parseInt(field(block, 124, 12).trim() || "0", 8);
}

function paxPath(body) {
  const found = /\d+ path=([^\n]*)\n/.exec(text.decode(body));
  return found?.[1] ?? null;
}

/** Return `{path, size, kind, bytes}` of each entry. */
export function readTar(bytes) {
  const out = [];
  let long = null;
  for (let at = 0; at + 512 <= bytes.length;) {
    const block = bytes.subarray(at, at + 512);
    if (block[0] === 0) break;
    const size = sizeOf(block);
    const body = bytes.subarray(at + 512, at + 512 + size);
    const type = String.fromCharCode(block[156]);
    if (type === "x") long = paxPath(body) ?? long;
    else if (type === "L") long = text.decode(body).replace(/\0.*$/s, "");
    else if (type !== "g") {
      const prefix = field(block, 345, 155);
      const path = long ?? (prefix ? `${prefix}/` : "") + field(block, 0, 100);
      long = null;
      const kind = { 5: "folder", 2: "link" }[type] ?? "file";
      out.push({ path: path.replace(/^\.\//, ""), size, kind, bytes: body });
    }
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return out;
}
