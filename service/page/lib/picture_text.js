// The texts that image files carry: PNG's chunks, and the Exif data of WebP and JPEG.

const MOST_BYTES = 64 * 2 ** 20; // of a file
const EXIF_IFD = 0x8769;
const MAKER_NOTE = 0x927c; // where our files have their JSON
const USER_COMMENT = 0x9286;

/** Return a file's texts by name, such as {parameters, sfumato}; {} if it has none. */
export async function textsOf(file) {
  if (file.size > MOST_BYTES) return {};
  const bytes = new Uint8Array(await file.arrayBuffer());
  const view = new DataView(bytes.buffer);
  try {
    if (view.getUint32(0) === 0x89504e47) return await pngTexts(bytes, view);
    if (latin(bytes, 0, 4) === "RIFF") return webpTexts(bytes, view);
    if (view.getUint16(0) === 0xffd8) return jpegTexts(bytes, view);
  } catch { /* cut short, or no image */ }
  return {};
}

const latin = (bytes, from, to) => String.fromCharCode(...bytes.subarray(from, to));
const utf8 = (bytes) => new TextDecoder().decode(bytes);

async function pngTexts(bytes, view) {
  const texts = {};
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    if (at + 12 + length > bytes.length) break; // cut short
    const type = latin(bytes, at + 4, at + 8);
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (["tEXt", "zTXt", "iTXt"].includes(type)) Object.assign(texts, await pngText(type, data));
    if (type === "IEND") break;
    at += 12 + length;
  }
  return texts;
}

async function pngText(type, data) {
  const end = data.indexOf(0);
  const name = latin(data, 0, end);
  if (type === "tEXt") return { [name]: new TextDecoder("latin1").decode(data.subarray(end + 1)) };
  if (type === "zTXt") {
    return { [name]: new TextDecoder("latin1").decode(await inflated(data.subarray(end + 2))) };
  }
  const language = data.indexOf(0, end + 3);
  const text = data.subarray(data.indexOf(0, language + 1) + 1);
  return { [name]: utf8(data[end + 1] ? await inflated(text) : text) };
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function webpTexts(bytes, view) {
  for (let at = 12; at + 8 <= bytes.length;) {
    const length = view.getUint32(at + 4, true);
    if (latin(bytes, at, at + 4) === "EXIF") return exifTexts(bytes.subarray(at + 8, at + 8 + length));
    at += 8 + length + (length % 2);
  }
  return {};
}

function jpegTexts(bytes, view) {
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff;) {
    const length = view.getUint16(at + 2);
    const data = bytes.subarray(at + 4, at + 2 + length);
    if (bytes[at + 1] === 0xe1 && latin(data, 0, 4) === "Exif") return exifTexts(data);
    at += 2 + length;
  }
  return {};
}

function exifTexts(bytes) {
  const data = latin(bytes, 0, 4) === "Exif" ? bytes.slice(6) : bytes.slice();
  const view = new DataView(data.buffer);
  const little = view.getUint16(0) === 0x4949;
  const tags = (at) => {
    const found = {};
    for (let n = 0; n < view.getUint16(at, little); n++) {
      const entry = at + 2 + 12 * n;
      const size = view.getUint32(entry + 4, little);
      const value = view.getUint32(entry + 8, little);
      found[view.getUint16(entry, little)] = { value, data: data.subarray(value, value + size) };
    }
    return found;
  };
  const ifd = tags(view.getUint32(4, little))[EXIF_IFD];
  if (!ifd) return {};
  const found = tags(ifd.value);
  const texts = {};
  if (found[USER_COMMENT]) texts.parameters = comment(found[USER_COMMENT].data);
  if (found[MAKER_NOTE]) texts.sfumato = utf8(found[MAKER_NOTE].data);
  return texts;
}

function comment(data) {
  const text = data.subarray(8);
  if (latin(data, 0, 7) !== "UNICODE") return utf8(text);
  const zeros = [0, 1].map((side) => text.filter((byte, at) => byte === 0 && at % 2 === side).length);
  return new TextDecoder(zeros[1] > zeros[0] ? "utf-16le" : "utf-16be").decode(text);
}
