// The painter: tools, keys, pointers, and what the server posts. Runs once, with gr.HTML's own variables
// `element`, `trigger`, `props`, `upload` and `watch` in scope, after mask.js, view.js and player.js.

const SLOTS = 8; // as in painter.py: the server posts event n in slot n % SLOTS, so that none is overwritten unseen
const MAX_UPLOAD = 64 * 1024 * 1024; // bytes, as in painter.py
const SIZES = { smallest: 0.004, largest: 0.4 }; // brush, as parts of the picture's longer side

const root = element.querySelector('.sundae');
const find = (selector) => root.querySelector(selector);
const stage = find('.stage');
const cursor = find('.cursor');
const sizeField = find('[data-size]');
const replayField = find('[data-replay]');
const fileField = find('[data-file]');

const mask = new Mask(find('canvas.mask'));
const view = new View(stage, find('.sheet'));
const player = new Player(find('canvas.base'), find('canvas.result'), changed);

const state = {
  tool: 'brush', space: false, hover: null, ready: false, lastSeen: 0, pictures: 0,
  posted: null, // the mask of the last job, with hard edges
  busy: false, // a job is wanted or running
  pending: false, // gradio still holds the last job's event: until it lets go it ignores a new one
  settled: 0, // when busy last ended
  sent: null, // the file that is on its way
  source: null, // the picture as it came: a file, or the number of an example
  recovering: false, // the picture is on its way once more, for the mask that is here
  stopping: false, // the visitor has stopped the job, so its failing is no news
  again: false, // Redraw was pressed while pending
};
const pointers = new Map(); // pointers that are down on the stage, by id
let drag = null; // 'paint', 'pan' or 'pinch'

// ---- what is shown -------------------------------------------------------------------------------------

function setStatus(text) {
  find('.status').textContent = text;
}

function setMessage(text) {
  find('.message p').textContent = text;
  find('.message').hidden = !text;
}

// How the mask is shown: 'tint' while painting, 'outline' over a result, 'none' while it is being redrawn.
function setLook(look) {
  if (look === 'outline' && state.posted) {
    drawOutline(find('canvas.outline'), state.posted, Math.max(1, 1.4 / view.scale));
  }
  root.dataset.look = look;
}

function setBusy(busy) {
  if (state.busy && !busy) state.settled = performance.now();
  state.busy = busy;
  root.dataset.busy = busy ? '1' : '0';
  document.body.classList.toggle('sundae-busy', busy);
  if (!busy) setProgress(0, 0);
}

function setProgress(step, total) {
  find('.bar i').style.transform = `scaleX(${total ? step / total : 0})`;
  find('.bar').setAttribute('aria-valuenow', step);
  find('.bar').setAttribute('aria-valuemax', total || 1);
  find('.progress').textContent = total ? `step ${step} of ${total}` : '';
}

function setCount(name, value) {
  root.dataset[name] = String(value);
}

function changed(what, run) {
  if (what === 'frame') setCount('drawn', Number(root.dataset.drawn) + 1);
  if (what === 'frame' && run.step === 1) setLook('none');
  if (what === 'stopped') setLook(run ? 'outline' : 'tint');
  if (what === 'choice' && run === player.finished) setStatus(doneText(run));
  if (what === 'look') setStatus(run.step < run.frames.length ? lookText(run) : doneText(run));
  updateReplay(run);
  updateStrip(run);
}

function doneText(run) {
  const done = run.done;
  return `Done ${done.count} · ${done.seconds.toFixed(1)} s · seed ${done.seeds[run.choice]} · ${done.steps} steps`;
}

function lookText(run) {
  const frame = run.frames[run.step - 1];
  return `Step ${frame.index} of ${frame.total}; the result is the last one`;
}

function updateReplay(run) {
  find('.replay').hidden = !run || run !== player.finished || run.frames.length < 2;
  if (!run) return;
  replayField.max = run.frames.length;
  replayField.value = run.step;
}

function updateStrip(run) {
  const strip = find('.strip');
  strip.hidden = !run || run.candidates < 2;
  const wanted = strip.hidden ? 0 : run.candidates;
  while (strip.children.length > wanted) strip.lastChild.remove();
  while (strip.children.length < wanted) strip.append(candidateButton(strip.children.length));
  [...strip.children].forEach((button, index) => {
    button.setAttribute('aria-pressed', String(index === run.choice));
    player.drawThumb(button.firstChild, index);
  });
}

function candidateButton(index) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'candidate';
  button.title = `Candidate ${index + 1} (${index + 1})`;
  button.setAttribute('aria-label', `Use candidate ${index + 1}`);
  button.append(document.createElement('canvas'));
  button.addEventListener('click', () => choose(index));
  return button;
}

function choose(index) {
  const run = player.run;
  if (!run || index >= run.candidates || run.candidates < 2) return;
  player.choose(index);
  trigger('adopt', { job: run.job, index });
}

// ---- the brush -----------------------------------------------------------------------------------------

// The slider is logarithmic: equal moves, equal ratios.
function brushSize() {
  const longest = Math.max(view.width, view.height);
  const ratio = SIZES.largest / SIZES.smallest;
  return longest * SIZES.smallest * ratio ** (Number(sizeField.value) / 100);
}

function changeSize(by) {
  sizeField.value = Number(sizeField.value) + by;
  showSize();
}

function setTool(tool) {
  state.tool = tool;
  for (const name of ['brush', 'eraser']) {
    find(`[data-act=${name}]`).setAttribute('aria-pressed', String(name === tool));
  }
  cursor.classList.toggle('erasing', tool === 'eraser');
}

function placeCursor(clientX, clientY) {
  const box = stage.getBoundingClientRect();
  const size = brushSize() * view.scale;
  cursor.style.width = cursor.style.height = `${size}px`;
  cursor.style.transform = `translate(${clientX - box.x - size / 2}px, ${clientY - box.y - size / 2}px)`;
}

// While the size changes the circle stands in the middle of the stage unless the pointer is over it.
let sizeTimer = 0;
function showSize() {
  const box = stage.getBoundingClientRect();
  const at = state.hover || { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  placeCursor(at.x, at.y);
  cursor.classList.add('shown');
  clearTimeout(sizeTimer);
  sizeTimer = setTimeout(() => { if (!state.hover) cursor.classList.remove('shown'); }, 900);
}

function edited() {
  setLook('tint');
  find('[data-act=undo]').disabled = !mask.done.length;
  find('[data-act=redo]').disabled = !mask.undone.length;
}

function compare(on) {
  root.classList.toggle('comparing', on);
  find('[data-hold=compare]').setAttribute('aria-pressed', String(on));
}

const actions = {
  brush: () => setTool('brush'),
  eraser: () => setTool('eraser'),
  undo: () => { mask.undo(); edited(); },
  redo: () => { mask.redo(); edited(); },
  invert: () => { mask.apply('invert'); edited(); },
  clear: () => { mask.apply('clear'); edited(); },
  zoomin: () => view.zoomAt(1.4),
  zoomout: () => view.zoomAt(1 / 1.4),
  fit: () => view.fit(),
  open: () => fileField.click(),
  dismiss: () => setMessage(''),
  smaller: () => changeSize(-5),
  larger: () => changeSize(5),
  redraw: () => press('redraw'),
  cancel: () => { if (state.busy) press('cancel'); },
};

function press(id) {
  const host = document.getElementById(id);
  const button = host && (host.matches('button') ? host : host.querySelector('button'));
  if (button) button.click();
}

root.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (button) actions[button.dataset.act]();
});
sizeField.addEventListener('input', showSize);
replayField.addEventListener('input', () => player.look(Number(replayField.value)));

// ---- holding to compare --------------------------------------------------------------------------------

const holdButton = find('[data-hold=compare]');
holdButton.addEventListener('pointerdown', (event) => {
  holdButton.setPointerCapture(event.pointerId);
  compare(true);
});
for (const name of ['pointerup', 'pointercancel', 'lostpointercapture', 'blur']) {
  holdButton.addEventListener(name, () => compare(false));
}
holdButton.addEventListener('contextmenu', (event) => event.preventDefault()); // a long press on a phone
holdButton.addEventListener('keydown', (event) => {
  if (event.key === ' ' || event.key === 'Enter') compare(true);
});
holdButton.addEventListener('keyup', () => compare(false));
window.addEventListener('blur', () => compare(false));

// ---- pointers ------------------------------------------------------------------------------------------

stage.addEventListener('pointerdown', (event) => {
  if (!state.ready || event.button > 1) return;
  event.preventDefault();
  root.classList.add('by-pointer');
  stage.focus({ preventScroll: true });
  stage.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (pointers.size === 2) startPinch();
  else if (pointers.size === 1) startDrag(event);
});

function startDrag(event) {
  drag = state.space || event.button === 1 ? 'pan' : 'paint';
  if (state.busy && drag === 'paint') drag = null; // the hole is being drawn in
  if (drag === 'paint') {
    mask.begin(state.tool === 'eraser', brushSize(), view.toPicture(event.clientX, event.clientY));
    setLook('tint');
  }
  root.classList.toggle('panning', drag === 'pan');
}

// A second finger means the first was not painting.
function startPinch() {
  mask.abandon();
  drag = 'pinch';
}

stage.addEventListener('pointermove', (event) => {
  hover(event);
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const now = { x: event.clientX, y: event.clientY };
  if (drag === 'paint') paintTo(event);
  if (drag === 'pan') view.pan(now.x - before.x, now.y - before.y);
  if (drag === 'pinch') pinch(event.pointerId, before, now);
  pointers.set(event.pointerId, now);
});

function paintTo(event) {
  const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const each of events.length ? events : [event]) mask.extend(view.toPicture(each.clientX, each.clientY));
}

function pinch(id, before, now) {
  const other = [...pointers].find(([key]) => key !== id);
  if (!other) return;
  const fixed = other[1];
  const apart = (point) => Math.hypot(point.x - fixed.x, point.y - fixed.y) || 1;
  view.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
  view.zoomAt(apart(now) / apart(before), (now.x + fixed.x) / 2, (now.y + fixed.y) / 2);
}

function lift(event) {
  if (!pointers.delete(event.pointerId)) return;
  if (drag === 'paint') {
    if (event.type === 'pointercancel') mask.abandon();
    else mask.end();
    edited();
  }
  if (drag !== 'pinch' || pointers.size === 0) drag = null;
  root.classList.remove('panning');
}
stage.addEventListener('pointerup', lift);
stage.addEventListener('pointercancel', lift);

function hover(event) {
  if (event.pointerType === 'touch') return;
  state.hover = { x: event.clientX, y: event.clientY };
  placeCursor(event.clientX, event.clientY);
  cursor.classList.toggle('shown', state.ready);
}
stage.addEventListener('pointerleave', () => {
  state.hover = null;
  cursor.classList.remove('shown');
});

// At the smallest zoom a wheel turned down scrolls the page as anywhere else.
stage.addEventListener('wheel', (event) => {
  if (!event.ctrlKey && event.deltaY > 0 && view.zoom <= 1) return;
  event.preventDefault();
  view.zoomAt(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), event.clientX, event.clientY);
  hover(event);
}, { passive: false });

// ---- keys ----------------------------------------------------------------------------------------------

const KEYS = {
  b: 'brush', e: 'eraser', i: 'invert', delete: 'clear', backspace: 'clear', '[': 'smaller', ']': 'larger',
  '+': 'zoomin', '=': 'zoomin', '-': 'zoomout', '0': 'fit', enter: 'redraw', escape: 'cancel',
};

function typing(target) {
  return target.matches('textarea, select, [contenteditable=true], input:not([type=range]):not([type=checkbox]):not([type=radio])');
}

function controlled(target) {
  return target.matches('button, a, summary, [role=button], input[type=checkbox], input[type=radio]');
}

document.addEventListener('keydown', (event) => {
  if (!root.isConnected || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === 'tab') root.classList.remove('by-pointer');
  if (event.ctrlKey || event.metaKey) return undoKeys(event, key);
  if (typing(event.target) && !['escape', 'enter'].includes(key)) return;
  if (controlled(event.target) && [' ', 'enter'].includes(key)) return;
  if (key === ' ') state.space = true;
  else if (key === 'c') compare(true);
  else if (/^[1-4]$/.test(key)) choose(Number(key) - 1);
  else if (KEYS[key]) actions[KEYS[key]]();
  else return;
  if (key !== 'enter') event.preventDefault();
  root.classList.toggle('grabbing', state.space);
});

function undoKeys(event, key) {
  if (typing(event.target) || !['z', 'y'].includes(key)) return;
  actions[key === 'y' || event.shiftKey ? 'redo' : 'undo']();
  event.preventDefault();
}

document.addEventListener('keyup', (event) => {
  if (event.key === ' ') state.space = false;
  if (event.key.toLowerCase() === 'c') compare(false);
  root.classList.toggle('grabbing', state.space);
});
window.addEventListener('blur', () => { state.space = false; root.classList.remove('grabbing'); });

// ---- a new picture: chosen, dropped or pasted ----------------------------------------------------------

async function send(file) {
  if (!file) return;
  if (file.size > MAX_UPLOAD) return setMessage('That file is too large: 64 MB is the most this page takes.');
  setMessage('');
  setStatus('Loading');
  try {
    const { path } = await upload(renamed(file));
    state.sent = file;
    trigger('picture', { path, name: file.name });
  } catch {
    setStatus('');
    setMessage('The picture could not be sent. Please try again.');
  }
}

// The server files uploads by content and name, and removes each when read: equal files need different names.
function renamed(file) {
  const ending = (/\.[a-z0-9]{1,5}$/i.exec(file.name) || ['.png'])[0];
  return new File([file], `${Date.now()}-${Math.random().toString(36).slice(2)}${ending}`, { type: file.type });
}

const carriesFiles = (event) => [...(event.dataTransfer?.types || [])].includes('Files');

fileField.addEventListener('change', () => { send(fileField.files[0]); fileField.value = ''; });
document.addEventListener('paste', (event) => send(event.clipboardData?.files[0]));
document.addEventListener('dragover', (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  root.classList.add('dropping');
});
document.addEventListener('dragleave', (event) => { if (!event.relatedTarget) root.classList.remove('dropping'); });
document.addEventListener('drop', (event) => {
  root.classList.remove('dropping');
  if (!carriesFiles(event)) return;
  event.preventDefault();
  send(event.dataTransfer.files[0]);
});

// ---- what the server posts -----------------------------------------------------------------------------

const received = {
  async picture(event) {
    if (recovered(event)) return;
    await player.setPicture(event.view, event.width, event.height);
    mask.reset(event.width, event.height);
    state.posted = null;
    state.source = event.example ?? state.sent ?? null;
    state.sent = null;
    view.setPicture(event.width, event.height);
    setBusy(false);
    edited();
    changed('picture', null);
    setMessage(event.note || '');
    setStatus(event.status);
    state.ready = true;
    root.dataset.ready = '1';
    setCount('pictures', (state.pictures += 1));
  },
  // The connection was away for a while and the server has forgotten the picture: send it again, then redraw.
  lost() {
    setBusy(false);
    state.recovering = sendAgain();
    setStatus(state.recovering ? 'Sending the picture again' : '');
    if (!state.recovering) setMessage('The connection was lost, and the picture with it. Please load it again.');
  },
  start(event) {
    player.start(state.posted, event.job, event.candidates, event.total);
    setStatus('Redrawing');
    setProgress(0, event.total);
  },
  frame(event) {
    if (!player.run || player.run.job !== event.job) return undefined;
    setProgress(event.index, event.total);
    return player.add(event);
  },
  done(event) {
    if (!player.run || player.run.job !== event.job) return;
    player.run.done = event;
    player.finish();
    setBusy(false);
    setCount('sent', event.frames);
    setLook('outline');
    changed('look', player.run);
  },
  stopped(event) {
    state.sent = null;
    player.stop();
    setBusy(false);
    setStatus(event.status);
    setMessage(event.note || '');
  },
  note(event) {
    setMessage(event.note);
  },
  file(event) {
    const link = document.createElement('a');
    link.href = new URL(`gradio_api/file=${encodeURI(event.path)}`, document.baseURI).href;
    link.download = event.name;
    link.click();
    setMessage(event.note || '');
  },
};

function sendAgain() {
  if (state.source === null) return false;
  if (state.source instanceof File) send(state.source);
  else document.querySelector(`#examples [data-index="${state.source}"]`)?.click();
  return true;
}

// Whether this is the picture that is here already, sent again; the mask and its history then stay.
function recovered(event) {
  const expected = state.recovering && event.width === view.width && event.height === view.height;
  state.recovering = false;
  if (expected) {
    setCount('recovered', Number(root.dataset.recovered || 0) + 1);
    press('redraw');
  }
  return expected;
}

// Events are handled one after another, whatever the order their slots were filled in.
let handled = Promise.resolve();

function receive() {
  const fresh = [];
  for (let slot = 0; slot < SLOTS; slot++) {
    const event = props[`slot${slot}`];
    if (event && event.number > state.lastSeen) fresh.push(event);
  }
  fresh.sort((a, b) => a.number - b.number);
  for (const event of fresh) {
    state.lastSeen = event.number;
    handled = handled.then(() => received[event.kind](event)).catch((error) => console.error(error));
  }
}
watch([...Array(SLOTS).keys()].map((slot) => `slot${slot}`), receive);

// ---- what the page posts -------------------------------------------------------------------------------

const PATIENCE = 3000; // ms after which an event that gradio has not let go of is taken for lost

// The mask as a PNG data URL, empty when nothing is painted; called by the Redraw button's event.
function takeMask() {
  mask.end();
  Object.assign(state, { pending: true, stopping: false, again: false });
  setCount('drawn', 0);
  setCount('sent', 0);
  setMessage('');
  setBusy(true);
  setStatus('Waiting for the model');
  const hard = mask.hard();
  if (!hard) return '';
  state.posted = hard;
  return maskPng(hard);
}

// Redraw pressed while the last job's event is not over: once more as soon as it is.
document.addEventListener('click', (event) => {
  if (!root.isConnected || !event.target.closest('#redraw') || !state.pending) return;
  if (!state.busy && performance.now() - state.settled > PATIENCE) return;
  event.stopPropagation();
  state.again = !state.busy;
}, true);

// Called when the visitor does something that stops a running job.
function stopping() {
  state.stopping = true;
}

// Called when gradio is done with the job's event, whether it ran, was stopped or was never taken.
function ended(well) {
  state.pending = false;
  if (!well && state.busy && !state.stopping) refused();
  if (state.again) press('redraw');
}

function refused() {
  player.stop();
  setBusy(false);
  setStatus('');
  setMessage('The server did not take the job: it is busy or away. Please try again in a moment.');
}

// Gradio says some things in pop-ups, a lost connection among them. The strip says them; page.css hides the
// pop-ups. A job whose failing has not been told soon after will not be told of any more.
const TOLD = 600; // ms

function overheard(text) {
  setMessage(text);
  setTimeout(() => {
    if (!state.busy) return;
    player.stop();
    setBusy(false);
    setStatus('');
    state.pending = false;
  }, TOLD);
}

new MutationObserver((changes) => {
  for (const node of changes.flatMap((change) => [...change.addedNodes])) {
    const text = node.querySelector?.('[data-testid=toast-text]');
    if (text) overheard(text.textContent.trim());
  }
}).observe(document.body, { childList: true, subtree: true });

window.sundae = { takeMask, stopping, ended };
edited();
receive();
