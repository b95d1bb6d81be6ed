// What concerns the picture as a whole: a new face, a wider picture, and three ways to see it as the model does.

const SIGHTS = {
  seen: 'What the model sees',
  surprise: 'What surprises the model',
  strip: 'From this face to another',
};
const sight = find('.sight');
let asked = 0; // sights that have been asked for
let awaited = false; // the last of them is not done

const wholeActions = {
  new() {
    unlockAgain(); // another face is wanted than the one that came back
    askFor('blank', () => {
      state.face = true;
      return { model: picker.model, again: state.source !== null };
    });
  },
  extend() {
    const margins = {};
    for (const field of document.querySelectorAll('[data-margin]')) margins[field.dataset.margin] = Number(field.value);
    if (lastAsked() !== 'extend') askFor('extend', () => margins);
  },
  seen: () => look('seen'),
  surprise: () => look('surprise'),
  strip: () => look('strip'),
};

// There is a picture of the model's size, and another was not asked for meanwhile. With every pixel hidden, nothing of it
// is looked at.
function drawAnew(event) {
  if (state.busy) return;
  if (!state.face) return leaveEmpty();
  state.face = false;
  picker.learn(event.grids);
  if (picker.model === null) picker.pick(event.model);
  setMode('paint');
  state.anew = true;
  change(() => mask.set(new Uint8Array(mask.canvas.width * mask.canvas.height).fill(1)));
  press('redraw');
}

// A face that was cancelled leaves nothing to be seen: what was here before is wanted, unless another picture is.
function leaveEmpty() {
  if (state.way === 'blank' && !player.finished && state.former.length && !turns.waiting.length) press('go-back');
}

function look(what) {
  abandonSight();
  asked += 1;
  awaited = true;
  sight.querySelector('h2').textContent = t(SIGHTS[what]);
  sight.querySelector('p').textContent = what === 'strip' ? t('Drawing; this takes a while') : t('Looking');
  sight.querySelector('img').hidden = sight.querySelector('a').hidden = true;
  if (!sight.open) sight.showModal();
  trigger('sight', { what, model: picker.model, asked });
}

// Nobody waits for it any more: others wait for the model.
function abandonSight() {
  if (awaited) trigger('abandon', { what: 'sight', number: asked });
  awaited = false;
}

sight.addEventListener('close', () => { if (!sight.open) abandonSight(); });

function showSight(event) {
  if (!sight.open || event.asked !== asked) return;
  awaited = !event.done;
  const [image, link] = [sight.querySelector('img'), sight.querySelector('a')];
  sight.querySelector('p').textContent = event.text;
  image.hidden = !event.url;
  link.hidden = awaited || !event.url;
  if (!event.url) return;
  image.src = link.href = event.url;
  image.alt = t(SIGHTS[event.what]);
  link.download = `sundae-${event.what}.jpg`;
}

// Called when gradio could not have it looked at.
function sightFailed() {
  if (sight.open && awaited) sight.querySelector('p').textContent = notTaken();
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
