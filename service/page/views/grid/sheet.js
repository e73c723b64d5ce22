// A grid as one picture with its labels.

const [GAP, TOP, BESIDE] = [8, 36, 240]; // pixels: gaps, labels above, labels beside at most
const [SMALL, LARGE] = [128, 512]; // sides up to which cells are scaled up, and never beyond

/** Return a PNG of rows of blobs (undefined: there is none) with labels above and beside them. */
export async function sheet(across, down, rows) {
  const pictures = await Promise.all(rows.map((row) =>
    Promise.all(row.map((blob) => blob && createImageBitmap(blob)))));
  const widest = Math.max(...pictures.flat().map((each) => Math.max(each?.width ?? 0, each?.height ?? 0)));
  const small = widest <= SMALL; // scaled up in whole multiples
  const side = small ? widest * Math.floor(SMALL / widest) : Math.min(LARGE, widest);
  const canvas = document.createElement("canvas");
  const pen = canvas.getContext("2d");
  const font = "14px system-ui, sans-serif";
  pen.font = font;
  const beside = Math.max(...down.map((text) => pen.measureText(text).width));
  const left = 2 * GAP + Math.min(BESIDE, beside);
  canvas.width = left + across.length * (side + GAP);
  canvas.height = TOP + down.length * (side + GAP);
  const at = (i, j) => [left + i * (side + GAP), TOP + j * (side + GAP)];
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  Object.assign(pen, { font, fillStyle: "#222", textBaseline: "middle", textAlign: "center" });
  across.forEach((text, i) => pen.fillText(text, at(i, 0)[0] + side / 2, TOP / 2, side));
  pen.textAlign = "right";
  down.forEach((text, j) => pen.fillText(text, left - GAP, at(0, j)[1] + side / 2, BESIDE));
  pen.imageSmoothingEnabled = !small;
  const scale = side / widest;
  pictures.forEach((row, j) => row.forEach((picture, i) =>
    picture && pen.drawImage(picture, ...at(i, j), picture.width * scale, picture.height * scale)));
  return new Promise((resolve) => canvas.toBlob(resolve));
}
