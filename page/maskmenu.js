// The menu of what can be done to a mask as a whole: grow, shrink, show its cells, save, open, and the last one again.

const LIGHT = 128; // luma from which a pixel of an opened mask is painted, as in sundae.masks.load_mask
const LUMA = [0.299, 0.587, 0.114];

const menu = find('.menu');
const amountField = find('[data-amount]');
const unitField = find('[data-unit]');
const maskField = find('[data-mask-file]');
const memory = { hard: null }; // the mask of the last redraw, whatever the picture was

function resize(more) {
  const { width, height } = mask.canvas;
  const count = Math.min(Math.max(1, Math.round(Number(amountField.value)) || 1), Number(amountField.max));
  amountField.value = count;
  let bits = mask.bits();
  if (unitField.value === 'px') bits = (more ? grown : shrunk)(bits, width, height, count);
  else bits = cells.stepped(bits, width, height, more ? count : -count);
  mask.set(bits);
}

function showCells(on) {
  cells.show(on);
  find('[data-act=cells]').setAttribute('aria-checked', String(on));
}

// At the picture's own size, so that it can be used with the file: white is repainted.
function saveMask() {
  const hard = mask.hard();
  if (!hard) return setMessage(t('There is no mask yet: paint one first.'));
  const [width, height] = cells.size;
  const canvas = newCanvas(width, height);
  const pen = canvas.getContext('2d');
  pen.imageSmoothingEnabled = false;
  pen.fillRect(0, 0, width, height);
  pen.drawImage(hard, 0, 0, width, height);
  return canvas.toBlob((blob) => {
    if (!blob) return setMessage(t('The mask is too large for this browser to save.'));
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = 'mask.png';
    link.click();
    return setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  });
}

async function openMask(file) {
  if (!file) return;
  if (state.busy) {
    sayBusy();
    return;
  }
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    setMessage(t('{file} could not be read as a picture.', { file: file.name }));
    return;
  }
  const [width, height] = cells.size;
  const sizes = [[width, height], [mask.canvas.width, mask.canvas.height]];
  if (!sizes.some((size) => size[0] === picture.width && size[1] === picture.height)) {
    const sizesOf = { file: file.name, width, height, across: picture.width, down: picture.height };
    setMessage(t('The mask must have the size of the picture, {width} × {height} px; {file} has {across} × {down}.', sizesOf));
    return;
  }
  const bits = bitsOfPicture(picture, mask.canvas.width, mask.canvas.height);
  if (!bits.includes(1)) setMessage(t('{file} has no white pixel, so nothing is painted.', { file: file.name }));
  else {
    setMessage('');
    change(() => mask.set(bits, true));
  }
}

// White is painted; in a layer of one paint whatever is visible.
function bitsOfPicture(picture, width, height) {
  const canvas = newCanvas(width, height);
  const pen = canvas.getContext('2d');
  pen.imageSmoothingEnabled = false;
  pen.drawImage(picture, 0, 0, width, height);
  const { data } = pen.getImageData(0, 0, width, height);
  const layer = onePaint(data);
  const bits = new Uint8Array(width * height);
  for (let i = 0; i < bits.length; i++) {
    const [r, g, b, a] = data.subarray(4 * i, 4 * i + 4);
    const light = Math.round(LUMA[0] * r + LUMA[1] * g + LUMA[2] * b) >= LIGHT;
    bits[i] = a && (layer || light) ? 1 : 0;
  }
  return bits;
}

// Whether some pixels are transparent and all that are mostly visible have one colour; faint edges of a stroke lose
// theirs to rounding.
function onePaint(data) {
  const [low, high] = [[255, 255, 255], [0, 0, 0]];
  let clear = false;
  for (let i = 0; i < data.length; i += 4) {
    clear = clear || data[i + 3] < 255;
    if (data[i + 3] < 128) continue;
    for (let c = 0; c < 3; c++) {
      low[c] = Math.min(low[c], data[i + c]);
      high[c] = Math.max(high[c], data[i + c]);
    }
  }
  return clear && high.every((value, c) => value - low[c] <= 8);
}

function useLastMask() {
  if (!memory.hard) return setMessage(t('There is no last mask yet: it is that of the last redraw.'));
  const { width, height } = mask.canvas;
  const scaled = newCanvas(width, height);
  scaled.getContext('2d').drawImage(memory.hard, 0, 0, width, height);
  return change(() => mask.set(bitsOf(scaled), true));
}

function closeMenu() {
  menu.open = false;
}

maskField.addEventListener('change', () => { openMask(maskField.files[0]); maskField.value = ''; });
document.addEventListener('pointerdown', (event) => { if (!menu.contains(event.target)) closeMenu(); }, true);
menu.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || !menu.open) return;
  closeMenu();
  menu.querySelector('summary').focus();
  event.stopPropagation();
});
