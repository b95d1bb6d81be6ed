// What concerns the picture as a whole: a new one, a wider one, and three ways to see it as the model does.

const SIGHTS = {
  seen: 'What the model sees',
  surprise: 'What surprises the model',
  strip: 'From this face to another',
};
const sight = find('.sight');
let asked = 0; // sights that have been asked for: what is awaited is the last

const wholeActions = {
  // With every pixel hidden, nothing of the picture is looked at.
  new() {
    setMode('paint');
    state.anew = true;
    change(() => mask.set(new Uint8Array(mask.canvas.width * mask.canvas.height).fill(1)));
    press('redraw');
  },
  extend() {
    const margins = {};
    for (const field of document.querySelectorAll('[data-margin]')) margins[field.dataset.margin] = Number(field.value);
    trigger('extend', margins);
  },
  seen: () => look('seen'),
  surprise: () => look('surprise'),
  strip: () => look('strip'),
};

function look(what) {
  asked += 1;
  sight.querySelector('h2').textContent = t(SIGHTS[what]);
  sight.querySelector('p').textContent = what === 'strip' ? t('Drawing; this takes a while') : t('Looking');
  sight.querySelector('img').hidden = sight.querySelector('a').hidden = true;
  if (!sight.open) sight.showModal();
  trigger('sight', { what, model: picker.model, asked });
}

function showSight(event) {
  if (!sight.open || event.asked !== asked) return;
  const [image, link] = [sight.querySelector('img'), sight.querySelector('a')];
  sight.querySelector('p').textContent = event.text;
  image.hidden = link.hidden = !event.url;
  if (!event.url) return;
  image.src = link.href = event.url;
  image.alt = t(SIGHTS[event.what]);
  link.download = `sundae-${event.what}.jpg`;
}

// Called when gradio could not have it looked at.
function sightFailed() {
  if (sight.open && sight.querySelector('img').hidden) sight.querySelector('p').textContent = notTaken();
}

// The rim of a picture that was extended: all but the box [left, top, width, height] of what it was.
function rim([left, top, width, height]) {
  const bits = new Uint8Array(mask.canvas.width * mask.canvas.height).fill(1);
  for (let y = top; y < top + height; y++) bits.fill(0, y * mask.canvas.width + left, y * mask.canvas.width + left + width);
  return bits;
}

document.addEventListener('click', (event) => {
  const button = root.isConnected && event.target.closest('[data-whole]');
  if (!button) return;
  if (state.busy) sayBusy();
  else wholeActions[button.dataset.whole]();
});
