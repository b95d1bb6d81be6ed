// The painter: tools, keys and pointers. All scripts run once, in one scope, with gr.HTML's own variables
// `element`, `trigger`, `props`, `upload` and `watch`, in the order of painter.py.

const SIZES = { smallest: 0.004, largest: 0.4 }; // brush, as parts of the picture's longer side

const root = element.querySelector('.sundae');
const find = (selector) => root.querySelector(selector);
const stage = find('.stage');
const cursor = find('.cursor');
const sizeField = find('[data-size]');
const replayField = find('[data-replay]');
const fileField = find('[data-file]');

const mask = new Mask(find('canvas.mask'));
const draft = new Draft(find('.draft polygon'));
const view = new View(stage, find('.sheet'));
const player = new Player(find('canvas.base'), find('canvas.result'), find('canvas.veil'), changed);
const picker = new Picker();
const cells = new Cells(find('canvas.cells'), mask);
const divider = new Divider(find('.divider'), find('canvas.result'));
const pair = new Pair(find('.pair'));
const grid = new Grid(find('.grid'));
const heat = new Heat(find('canvas.heat'), find('[data-heat]'), find('.legend'));
const keyBrush = new KeyBrush();
const edges = new Rim(find('.rim'));
view.moved = () => {
  divider.moved();
  keyBrush.show();
  edges.moved();
};
const TOOLS = ['brush', 'eraser', 'rectangle', 'lasso'];

const state = {
  tool: 'brush', space: false, hover: null, ready: false, pictures: 0,
  begun: 0, // number of the event with which the picture came or a job began, whichever was later
  posted: null, // what was asked for last: its mask, with hard edges, and the settings as they were
  busy: false, // a job is wanted or running
  pending: false, // gradio still holds the last job's event: until it lets go it ignores a new one
  settled: 0, // when busy last ended
  before: null, // what the status said before a file was on its way
  said: '', // and before a job was asked for
  sending: 0, // files being sent
  uploads: 0, // files that were to be sent
  turns: 0, // candidates that have been chosen
  unsent: -Infinity, // when one last could not be
  hint: '', // in English, as it came
  picture: 0, // number of the event that brought the picture
  former: [], // what was here when another picture took its place, the last one last
  ahead: [], // what was here when the visitor went back, the last one last
  edits: 0, // results that are part of the picture
  way: '', // in which the picture came, as the server calls it
  source: null, // the picture as it came: a file, or the number of an example
  recovering: null, // what is to be done once the picture, which is on its way again, is here: 'redraw' or 'nothing'
  stopping: false, // the visitor has stopped the job, so its failing is no news
  again: false, // Redraw was pressed while pending
  quarter: 0, // of the job's steps: how many were done when that was last announced
  began: 0, // when the first step of the job was shown
  goOn: false, // the next job takes more steps from the last result
  anew: false, // the next job draws from nothing
  face: false, // a new face is to be drawn as soon as there is room for it
  rest: null, // the mask of the next job, while the result before becomes the picture
};
const pointers = new Map(); // pointers that are down on the stage, by id
let drag = null; // 'paint', 'shape', 'divide', 'pan' or 'pinch'

// One row of tools, narrower ones where they would not fit.
new ResizeObserver(() => {
  root.classList.toggle('narrow', root.clientWidth < 720);
  root.classList.toggle('tight', root.clientWidth < 630);
}).observe(root);

// ---- what is shown -------------------------------------------------------------------------------------

function setStatus(text) {
  find('.status').textContent = text;
}

function setMessage(text) {
  find('.message p').textContent = text;
  find('.message').hidden = !text;
}

// What cannot be done while a redraw runs, or before the first is done, says so.
function sayBusy() {
  setMessage(t('The redraw is not done yet: wait for it, or cancel it first.'));
}

function sayNoResult() {
  setMessage(t('There is no result yet: paint, then press Redraw.'));
}

function notTaken() {
  return t('The server did not take the job: it is busy or away. Please try again in a moment.');
}

// For those who listen and do not look.
function announce(text) {
  find('.spoken').textContent = text;
}

// A quiet word about the picture, which stays as long as it does.
function setHint(text) {
  state.hint = text;
  find('.hint').textContent = text;
  find('.hint').hidden = !text;
}

// How the mask is shown: 'tint' while painting, 'outline' over a result, 'none' while it is being redrawn.
function setLook(look) {
  if (look === 'outline' && player.finished) {
    drawOutline(find('canvas.outline'), player.finished.hard, Math.max(1, 1.4 / view.scale));
  }
  root.dataset.look = look;
}

function setBusy(busy) {
  if (state.busy && !busy) state.settled = performance.now();
  state.busy = busy;
  root.dataset.busy = busy ? '1' : '0';
  for (const id of ['redraw', 'use', 'keep-going']) setOff(id, busy);
  setOff('cancel', !busy && !films.making);
  if (busy) setMode('paint');
  if (!busy) setProgress(0, 0);
}

// A button that does nothing just now; it can still be reached, so that the focus is not lost.
function setOff(id, off) {
  document.getElementById(id)?.setAttribute('aria-disabled', String(off));
}

function setProgress(step, total) {
  find('.bar i').style.transform = `scaleX(${total ? step / total : 0})`;
  find('.bar').setAttribute('aria-valuenow', step);
  find('.bar').setAttribute('aria-valuemax', total || 1);
  find('.progress').textContent = total ? progressText(step, total) : '';
  announceQuarter(total ? Math.floor((4 * step) / total) : 0);
}

function announceQuarter(quarter) {
  if (quarter > state.quarter && quarter < 4) announce(t('{percent} % done', { percent: 25 * quarter }));
  state.quarter = quarter;
}

function progressText(step, total) {
  const seconds = Math.ceil(timeLeft(step, total));
  if (seconds <= 1) return t('step {step} of {total}', { step, total });
  return t('step {step} of {total} · {seconds} s left', { step, total, seconds });
}

// In seconds, from the time that the steps so far have taken; the first is mostly getting ready.
function timeLeft(step, total) {
  if (step <= 1) state.began = performance.now();
  if (step <= 2) return 0;
  return ((performance.now() - state.began) / 1000 / (step - 1)) * (total - step);
}

function setCount(name, value) {
  root.dataset[name] = String(value);
}

function changed(what, run) {
  if (what === 'picture') {
    setMode('paint');
    keyBrush.leave();
    divider.at = null;
  }
  if (what === 'frame') setCount('drawn', Number(root.dataset.drawn) + 1);
  if (what === 'frame' && run.step === 1) setLook('none');
  if (what === 'frame' && run.step === 1 && run.anew && run.candidates > 1) setMode('grid');
  if (what === 'stopped') setLook(run ? 'outline' : 'tint');
  if (what === 'stopped' && grid.on) setMode('paint');
  if (what === 'choice' && run === player.finished) setStatus(doneText(run));
  if (what === 'choice') showPast();
  if (what === 'look') setStatus(run.step < run.frames.length ? lookText(run) : doneText(run));
  updateReplay(run);
  updateStrip(run);
  updatePairButton(run);
  grid.update(run);
  updateKeepButton(run);
  pair.draw();
  heat.draw(run);
}

function doneText(run, index = run.choice) {
  const done = run.done;
  const model = picker.label(run.model ?? picker.picked);
  const told = { count: done.count, seconds: done.seconds.toFixed(1), seed: done.seeds[index], steps: done.steps };
  return t('Done {count} · {seconds} s · seed {seed} · {steps} steps{model}', { ...told, model: model && ` · ${model}` });
}

function lookText(run) {
  const frame = run.frames[run.step - 1];
  return t('Step {step} of {total}; the result is the last one', { step: frame.index, total: frame.total });
}

function updateReplay(run) {
  find('.replay').hidden = !run || run !== player.finished || run.frames.length < 2;
  find('.over').hidden = find('.replay').hidden;
  if (!run) return;
  replayField.max = run.frames.length;
  replayField.value = run.step;
}

function updateStrip(run) {
  const strip = find('.strip');
  strip.hidden = !run || run.candidates < 2;
  showCandidates(strip, strip.hidden ? 0 : run.candidates, run);
}

// A button with a picture for each candidate, of a ``side`` in px, by default at the last step.
function showCandidates(place, wanted, run, side = THUMB, step = run?.frames.length) {
  while (place.children.length > wanted) place.lastChild.remove();
  while (place.children.length < wanted) place.append(candidateButton(place.children.length));
  [...place.children].forEach((button, index) => {
    button.setAttribute('aria-pressed', String(index === run.choice));
    button.classList.toggle('beside', pair.on && index === pair.other);
    player.drawThumb(button.firstChild, index, side, step);
  });
}

function candidateButton(index) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'candidate';
  button.title = t('Candidate {number}: use it ({number})', { number: index + 1 });
  button.setAttribute('aria-label', t('Use candidate {number}', { number: index + 1 }));
  button.append(document.createElement('canvas'));
  button.addEventListener('click', () => choose(index));
  return button;
}

function choose(index) {
  const run = player.run;
  if (!run || index >= run.candidates || run.candidates < 2) return;
  if (pair.on) return pair.bring(index);
  compare(false);
  if (grid.on) setMode('paint');
  player.choose(index);
  trigger('adopt', { job: run.job, index, turn: (state.turns += 1) });
  return undefined;
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
  for (const name of TOOLS) find(`[data-act=${name}]`).setAttribute('aria-pressed', String(name === tool));
  cursor.classList.toggle('erasing', tool === 'eraser');
  root.dataset.tool = tool;
  announce(find(`[data-act=${tool}]`).getAttribute('aria-label'));
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
  cells.measure();
  find('[data-act=undo]').disabled = !mask.done.length;
  find('[data-act=redo]').disabled = !mask.undone.length;
}

// The result itself, as it will be saved: no step of it, and not the original.
function showResult() {
  compare(false);
  const run = player.finished;
  if (run && run === player.run && run.step < run.frames.length) player.look(run.frames.length);
}

function compare(on) {
  root.classList.toggle('comparing', on);
  find('[data-hold=compare]').setAttribute('aria-pressed', String(on));
}

const actions = {
  ...Object.fromEntries(TOOLS.map((name) => [name, () => setTool(name)])),
  undo: () => change(() => mask.undo()),
  redo: () => change(() => mask.redo()),
  invert: () => change(() => mask.apply({ kind: 'invert' })),
  clear: () => change(() => mask.apply({ kind: 'clear' })),
  zoomin: () => (pair.on ? pair : view).zoomAt(1.4),
  zoomout: () => (pair.on ? pair : view).zoomAt(1 / 1.4),
  fit: () => (pair.on ? pair : view).fit(),
  divide: () => divide(),
  pair: () => showPair(),
  grid: () => showGrid(),
  keep: () => keepCandidate(),
  grow: () => change(() => resize(true)),
  shrink: () => change(() => resize(false)),
  cells: () => showCells(!cells.shown),
  savemask: () => saveMask(),
  openmask: () => (state.busy ? sayBusy() : maskField.click()),
  lastmask: () => useLastMask(),
  help: () => help(),
  open: () => fileField.click(),
  dismiss: () => setMessage(''),
  smaller: () => changeSize(-5),
  larger: () => changeSize(5),
  redraw: () => press('redraw'),
  cancel: () => {
    if (looking() && !(grid.on && state.busy)) setMode('paint');
    else if (state.busy || films.making) press('cancel');
    else state.face = false;
  },
};

// While the hole is being drawn in, its mask stays as it is.
function change(act) {
  if (state.busy) return sayBusy();
  if (looking()) return undefined;
  act();
  return edited();
}

// The keys, on top of the page; also where the column beside the picture has no room for them.
function help() {
  const sheet = find('.keysheet');
  if (sheet.open) return sheet.close();
  sheet.querySelector('dl')?.remove();
  sheet.append(document.querySelector('.keys dl').cloneNode(true));
  return sheet.showModal();
}

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
  (root.dataset.mode === 'divided' ? divider.line : stage).focus({ preventScroll: true });
  stage.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (pointers.size === 2) startPinch();
  else if (pointers.size === 1) startDrag(event);
});

function startDrag(event) {
  const shaping = ['rectangle', 'lasso'].includes(state.tool);
  const dividing = root.dataset.mode === 'divided';
  drag = state.space || event.button === 1 ? 'pan' : dividing ? 'divide' : shaping ? 'shape' : 'paint';
  if (state.busy && drag !== 'pan') drag = null; // the hole is being drawn in
  if (drag === 'paint') beginStroke(pointOf(event));
  if (drag === 'shape') draft.begin(state.tool, pointOf(event));
  if (drag === 'divide') divider.moveTo(pointOf(event).x);
  if (drag === 'paint' || drag === 'shape') setLook('tint');
  root.classList.toggle('panning', drag === 'pan');
}

// Where an event is on the picture, and how much of the brush a pen's pressure leaves.
function pointOf(event) {
  const point = view.toPicture(event.clientX, event.clientY);
  return event.pointerType === 'pen' && event.pressure ? { ...point, share: 0.25 + 0.75 * event.pressure } : point;
}

// A second finger means the first was not painting.
function startPinch() {
  mask.abandon();
  draft.drop();
  drag = 'pinch';
}

stage.addEventListener('pointermove', (event) => {
  hover(event);
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const now = { x: event.clientX, y: event.clientY };
  if (drag === 'paint') paintTo(event);
  if (drag === 'shape') draft.extend(pointOf(event));
  if (drag === 'divide') divider.moveTo(pointOf(event).x);
  if (drag === 'pan') view.pan(now.x - before.x, now.y - before.y);
  if (drag === 'pinch') pinch(event.pointerId, before, now);
  pointers.set(event.pointerId, now);
});

function paintTo(event) {
  const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const each of events.length ? events : [event]) {
    paintAt(pointOf(each));
  }
}

function paintAt(point) {
  if (!mask.stroke) return; // it is over: a job began, or another picture came
  const before = mask.stroke.points.at(-1);
  mask.extend(point);
  lightUp(before, point);
}

function beginStroke(point) {
  mask.begin(state.tool === 'eraser', brushSize(), point);
  lightUp(point, point);
}

function lightUp(from, to) {
  if (mask.stroke.erase) cells.erased();
  else cells.brushed(from, to, (mask.stroke.size * (to.share ?? 1)) / 2);
}

// A job begins, or another picture comes: what the pointer is drawing is over.
function endDrag() {
  mask.end();
  draft.drop();
  if (drag === 'paint' || drag === 'shape') drag = null;
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
  if (drag === 'shape') finishShape(event);
  if (drag !== 'pinch' || pointers.size === 0) drag = null;
  root.classList.remove('panning');
}
// With Alt held the shape is taken away from the mask.
function finishShape(event) {
  const points = event.type === 'pointercancel' ? draft.drop() : draft.end();
  if (points) mask.fill(points, event.altKey);
  edited();
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

function wheelFactor(event) {
  return Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018));
}

// At the smallest zoom a wheel turned down scrolls the page as anywhere else.
stage.addEventListener('wheel', (event) => {
  if (!event.ctrlKey && event.deltaY > 0 && view.zoom <= 1) return;
  event.preventDefault();
  view.zoomAt(wheelFactor(event), event.clientX, event.clientY);
  hover(event);
}, { passive: false });

// ---- keys ----------------------------------------------------------------------------------------------

const KEYS = {
  s: 'divide', p: 'pair', a: 'grid', k: 'keep', b: 'brush', e: 'eraser', r: 'rectangle', l: 'lasso', g: 'cells', m: 'lastmask', '?': 'help', i: 'invert', delete: 'clear', backspace: 'clear', '[': 'smaller', ']': 'larger',
  '+': 'zoomin', '=': 'zoomin', '-': 'zoomout', '0': 'fit', enter: 'redraw', escape: 'cancel',
};

function typing(target) {
  return target.matches('textarea, select, [contenteditable=true], input:not([type=range]):not([type=checkbox]):not([type=radio])');
}

function controlled(target) {
  return target.matches('button, a, summary, [role=button], input[type=checkbox], input[type=radio]');
}

document.addEventListener('keydown', (event) => {
  if (!root.isConnected) return;
  if (find('dialog[open]')) return closeHelp(event);
  const key = event.key.toLowerCase();
  const typed = event.altKey && '[]'.includes(key); // many keyboards have the brackets behind Alt
  if (event.altKey && !typed) return;
  if (key === 'tab') root.classList.remove('by-pointer');
  if ((event.ctrlKey || event.metaKey) && !typed) return undoKeys(event, key);
  if (typing(event.target) && !['escape', 'enter'].includes(key)) return;
  if (key === 'enter' && event.target.closest('.menu, .whole') && !controlled(event.target)) return entered(event.target);
  if (controlled(event.target) && [' ', 'enter'].includes(key)) return;
  if (key === ' ') state.space = true;
  else if (key === 'c') compare(!event.repeat || root.classList.contains('comparing'));
  else if (/^[1-8]$/.test(key)) choose(Number(key) - 1);
  else if (KEYS[key] && (!looking() || WHILE_LOOKING.includes(KEYS[key]))) actions[KEYS[key]]();
  else return;
  if (key !== 'enter') event.preventDefault();
  root.classList.toggle('grabbing', state.space);
});

// The key that opens the sheet closes it again.
function closeHelp(event) {
  if (event.key === '?' && find('.keysheet').open) help();
}

// Enter in a field that belongs to a button beside it, and not to Redraw.
function entered(field) {
  if (field.matches('[data-margin]')) document.querySelector('[data-whole=extend]').click();
}

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
