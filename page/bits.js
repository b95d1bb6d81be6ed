// Masks as bytes, one for each pixel, row by row: what a canvas cannot do to them.

const FAR = 1 << 20; // rows; beyond any picture, and its square still adds up exactly

// A byte for each pixel of a canvas: 1 where it covers at least half of it.
function bitsOf(canvas) {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const bits = new Uint8Array(canvas.width * canvas.height);
  for (let i = 0; i < bits.length; i++) bits[i] = data[4 * i + 3] >> 7;
  return bits;
}

// A canvas with hard edges: opaque white where the bits are set.
function canvasOf(bits, width, height) {
  const canvas = newCanvas(width, height);
  const pen = canvas.getContext('2d');
  const pixels = pen.createImageData(width, height);
  const words = new Uint32Array(pixels.data.buffer);
  for (let i = 0; i < words.length; i++) words[i] = bits[i] ? 0xffffffff : 0;
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

// Eight pixels to a byte, for the history.
function pack(bits) {
  const packed = new Uint8Array(Math.ceil(bits.length / 8));
  for (let i = 0; i < bits.length; i++) packed[i >> 3] |= bits[i] << (i & 7);
  return packed;
}

function unpack(packed, length) {
  const bits = new Uint8Array(length);
  for (let i = 0; i < length; i++) bits[i] = (packed[i >> 3] >> (i & 7)) & 1;
  return bits;
}

// Left, top, right, bottom (half open) of what is set; null if nothing is.
function extent(bits, width, height) {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let y = 0; y < height; y++) {
    const row = bits.subarray(y * width, (y + 1) * width);
    const first = row.indexOf(1);
    if (first < 0) continue;
    [left, right] = [Math.min(left, first), Math.max(right, row.lastIndexOf(1) + 1)];
    [top, bottom] = [Math.min(top, y), y + 1];
  }
  return right ? [left, top, right, bottom] : null;
}

// Every pixel within px of a set one, by Euclid: the same as sundae.masks.grow.
function grown(bits, width, height, px) {
  const rows = columnDistance(bits, width, height);
  const out = new Uint8Array(bits.length);
  for (let y = 0; y < height; y++) growRow(rows, out, y * width, width, px);
  return out;
}

// The outside grown: the picture's own edge is no outside.
function shrunk(bits, width, height, px) {
  return opposite(grown(opposite(bits), width, height, px));
}

function opposite(bits) {
  return bits.map((bit) => 1 - bit);
}

// Rows to the nearest set pixel of the same column.
function columnDistance(bits, width, height) {
  const distance = new Int32Array(bits.length);
  for (let x = 0; x < width; x++) {
    let away = FAR;
    for (let i = x; i < bits.length; i += width) distance[i] = away = bits[i] ? 0 : Math.min(FAR, away + 1);
    away = FAR;
    for (let i = bits.length - width + x; i >= 0; i -= width) {
      away = bits[i] ? 0 : Math.min(FAR, away + 1);
      distance[i] = Math.min(distance[i], away);
    }
  }
  return distance;
}

// A pixel that is d rows from a set one reaches sqrt(px^2 - d^2) to either side. A sweep each way carries how far the
// furthest reach so far goes.
function growRow(rows, out, start, width, px) {
  const reach = (x) => {
    const away = rows[start + x];
    return away > px ? -1 : Math.floor(Math.sqrt(px * px - away * away));
  };
  let until = -1;
  for (let x = 0; x < width; x++) {
    until = Math.max(until, reach(x) < 0 ? -1 : x + reach(x));
    if (x <= until) out[start + x] = 1;
  }
  let from = width;
  for (let x = width - 1; x >= 0; x--) {
    from = Math.min(from, reach(x) < 0 ? width : x - reach(x));
    if (x >= from) out[start + x] = 1;
  }
}
