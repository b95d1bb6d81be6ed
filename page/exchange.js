// What goes to the server and what comes from it.

const SLOTS = 16; // as in painter.py: the server posts event n in slot n % SLOTS, so that none is overwritten unseen
const MAX_UPLOAD = 64 * 1024 * 1024; // bytes, as in painter.py

// ---- a new picture: chosen, dropped or pasted ----------------------------------------------------------

const sent = new Map(); // files that the server is reading, by number

async function send(file) {
  if (!file) return;
  if (file.size > MAX_UPLOAD) return setMessage(t('{file} is too large: 64 MB is the most this page takes.', { file: file.name }));
  setMessage('');
  state.before ??= find('.status').textContent;
  setStatus(t('Loading'));
  state.sending += 1;
  const number = (state.uploads += 1); // now: of two files on their way, the second may arrive first
  const pressed = turns.pressed;
  try {
    const { path } = await upload(renamed(file));
    sent.set(number, { file, pressed });
    trigger('picture', { path, name: file.name, upload: number });
  } catch {
    state.unsent = performance.now();
    notLoaded(t('{file} could not be sent. Please try again.', { file: file.name }));
  }
  state.sending -= 1;
}

// What was here stays, and so does a job that is running.
function notLoaded(text) {
  if (find('.status').textContent === t('Loading')) setStatus(state.before ?? '');
  Object.assign(state, { before: null, recovering: null });
  setMessage(text);
}

// The server files uploads by content and name, and removes each when read: equal files need different names. By the
// visit it finds what nobody came to have read, because the tab was closed.
function renamed(file) {
  const ending = (/\.[a-z0-9]{1,5}$/i.exec(file.name) || ['.png'])[0];
  return new File([file], `${root.dataset.visit}-${Date.now()}-${Math.random().toString(36).slice(2)}${ending}`, { type: file.type });
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

document.addEventListener('click', (event) => {
  const button = root.isConnected && event.target.closest('#examples button');
  if (!button) return;
  if (button.matches('.own')) actions.open();
  else askFor('pick', () => ({ index: Number(button.dataset.index) }));
});

// ---- what the server posts -----------------------------------------------------------------------------

const received = {
  // A file could be read: only now the job for the picture before is stopped. Another picture that was asked for while
  // this was on its way is the one wanted.
  offer(event) {
    const { file, pressed } = sent.get(event.upload) ?? {};
    if (!file || pressed === turns.pressed) return request('take', () => ({ upload: event.upload }));
    sent.delete(event.upload);
    trigger('abandon', { what: 'upload', number: event.upload });
    return notLoaded(t('{file} was not loaded, because you went on to something else before it had arrived.', { file: file.name }));
  },
  refused(event) {
    sent.delete(event.upload);
    notLoaded(event.note);
  },
  async picture(event) {
    Object.assign(state, { picture: event.number, before: null });
    const source = sourceOfPicture(event);
    if (recovered(event)) return;
    if (['new', 'blank'].includes(event.way) && state.ready && !event.former) dropResults(); // the server had lost what was here
    let former = turnHistory(event);
    await player.setPicture(event.view, event.veil, event.width, event.height);
    endDrag();
    mask.reset(event.width, event.height);
    Object.assign(state, { source, way: event.way, goOn: false, anew: false });
    sight.close();
    view.setPicture(event.width, event.height);
    cells.setPicture(event.size, event.inner);
    edges.clear();
    setBusy(false);
    if (event.way === 'recalled') former = bringPastBack(event);
    if (former) bringBack(former);
    showPast();
    if (state.rest && event.way === 'used') mask.set(state.rest);
    if (event.inside) mask.set(rim(event.inside));
    edited();
    changed('picture', player.run);
    if (former) setLook(former.look);
    setMessage(event.note || '');
    setStatus(event.status);
    if (event.way === 'new') unlockAgain();
    if (Number.isFinite(event.asked?.seed)) fillSettings(fromFile(event.asked, event.maker)); // without one nothing was drawn
    if (event.way !== 'blank') askForFit(event.way === 'new');
    if (Number.isInteger(event.maker?.place)) picker.take(event.maker.place);
    if (state.ready) bringIntoView();
    state.ready = true;
    root.dataset.ready = '1';
    setCount('pictures', (state.pictures += 1));
    if (state.rest && event.way === 'used') press('redraw');
    state.rest = null;
    if (event.way === 'blank') drawAnew(event);
  },
  anew: drawAnew,
  fit(event) {
    if (event.picture !== state.picture) return;
    picker.learn(event.grids);
    picker.pick(event.model);
    cells.measure();
    setHint(event.hint);
  },
  // The connection was away for a while and the server has forgotten the picture: send it again, then redraw, unless
  // the result was needed, which is lost.
  lost() {
    const next = state.busy && !state.posted.ofResult ? 'redraw' : 'nothing';
    setBusy(false);
    state.rest = null;
    state.anew = state.posted?.anew ?? false;
    state.recovering = sendAgain() ? next : null;
    setStatus(state.recovering ? t('Sending the picture again') : '');
    if (!state.ready) setMessage(t('There is no picture. Please load one.'));
    else if (!state.recovering) setMessage(t('The connection was lost, and the picture with it. Please load it again.'));
  },
  start(event) {
    if (state.stopping && !state.busy) return press('cancel'); // it was stopped before gradio knew of it
    setBusy(true); // also when something else that gradio said was taken for its end
    setMessage('');
    player.start(state.posted, event.job, event.candidates, event.total);
    setStatus(t('Redrawing'));
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
    remember(event);
    changed('look', player.run);
  },
  sight: showSight,
  filming,
  kept(event) {
    forgetPast(event.jobs);
  },
  stopped(event) {
    if (!state.busy && player.finished) return; // it was over before it could be stopped, and its result stands
    stop(event.status);
    setMessage(event.note || '');
    leaveEmpty();
  },
  note(event) {
    if (state.stopping && state.busy) stop(''); // gradio has stopped the job before the server could refuse
    state.rest = null;
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

// What brings it back after a lost connection: the number of an example, or a file; null for what was made here.
function sourceOfPicture(event) {
  const file = sent.get(event.upload)?.file ?? null;
  for (const number of sent.keys()) if (number <= event.upload) sent.delete(number);
  return event.example ?? file;
}

// Back to what was here before the job.
function stop(status) {
  player.stop();
  setBusy(false);
  setStatus(status || state.said);
}

// ---- pictures that another has taken the place of ------------------------------------------------------

// Keep what is here, as the server does unless it had nothing, or take out what was here when the picture was.
function turnHistory(event) {
  const { former, ahead } = state;
  let back = null;
  if (event.way === 'former') back = swap(former, event.kept ? ahead : []);
  else if (event.way === 'later') back = swap(ahead, event.kept ? former : []);
  else if (event.former) former.push(...ahead.splice(0), asItIs());
  if (event.way === 'blank') setHint('');
  former.splice(0, former.length - event.former); // the server keeps no more
  ahead.splice(0, ahead.length - event.ahead);
  state.edits = event.edits;
  showWays();
  find('.chip').textContent = event.edits ? t('Before this edit') : t('Original');
  return back;
}

function swap(to, behind) {
  behind.push(asItIs());
  return to.pop();
}

// The picture, but for what the server knows of it.
function asItIs() {
  const { source, hint } = state;
  const rests = player.finished ? 'outline' : 'tint'; // while a job draws, the mask is not shown
  const look = root.dataset.look === 'none' ? rests : root.dataset.look;
  return { mask: mask.take(), run: player.finished, choice: picker.state, source, hint, look, fields: fieldsAsTheyAre() };
}

// The buttons for what there is; one that is gone leaves the focus to the other.
function showWays() {
  const pressed = document.activeElement;
  document.body.classList.toggle('sundae-former', state.former.length > 0);
  document.body.classList.toggle('sundae-ahead', state.ahead.length > 0);
  const other = { 'go-back': 'go-forward', 'go-forward': 'go-back' }[pressed?.id];
  if (other && !pressed.offsetParent) document.getElementById(other).focus({ preventScroll: true });
}

// A picture that was asked for from far below, from among the examples on a phone, would come unseen.
function bringIntoView() {
  const { top, bottom, height } = stage.getBoundingClientRect();
  if (Math.min(bottom, innerHeight) - Math.max(top, 0) < height / 2) stage.scrollIntoView({ block: 'center' });
}

function bringBack(former) {
  mask.restore(former.mask);
  picker.restore(former.choice);
  fillSettings(former.fields);
  state.source = former.source;
  setHint(former.hint);
  player.restore(former.run);
}

// Have the server say which model fits the picture, unless it has said so of the one that this was made from.
function askForFit(fresh) {
  if (fresh) {
    picker.clear();
    setHint('');
  }
  if (picker.picked === null) trigger('fit');
}

// ---- a lost connection ---------------------------------------------------------------------------------

function sendAgain() {
  if (state.source === null) return false;
  if (state.source instanceof File) send(state.source);
  else document.querySelector(`#examples [data-index="${state.source}"]`)?.click();
  return true;
}

// Whether this is the picture that is here already, sent again; the mask and its history then stay.
function recovered(event) {
  const next = event.width === view.width && event.height === view.height ? state.recovering : null;
  state.recovering = null;
  if (!next) return false;
  turnHistory(event);
  dropResults();
  askForFit(false);
  setCount('recovered', Number(root.dataset.recovered || 0) + 1);
  if (next === 'redraw') press('redraw');
  else {
    setStatus(event.status);
    setMessage(t('The connection was lost, and the result with it; the picture is here again.'));
  }
  return true;
}

// The server has none of them any more.
function dropResults() {
  setMode('paint');
  player.restore(null);
  keepOnly([]);
  changed('lost', null);
  setLook('tint');
}

// Events are handled one after another, whatever the order their slots were filled in. They come by two ways, and one may
// be overtaken by a later one of the other: it counts still, unless a picture or a job has begun since.
let handled = Promise.resolve();
const seen = Array(SLOTS).fill(0); // number of the last event in each slot

function receive() {
  const fresh = [];
  for (let slot = 0; slot < SLOTS; slot++) {
    const event = props[`slot${slot}`];
    if (event && event.number > seen[slot]) fresh.push(event);
  }
  fresh.sort((a, b) => a.number - b.number);
  for (const event of fresh) {
    seen[event.number % SLOTS] = event.number;
    if (event.number < state.begun) continue;
    if (event.kind === 'picture' || event.kind === 'start') state.begun = event.number;
    root.dataset.visit = event.visit; // another after the server had lost the one before
    handled = handled.then(() => received[event.kind](event)).catch((error) => console.error(error));
  }
}
watch([...Array(SLOTS).keys()].map((slot) => `slot${slot}`), receive);

// ---- what the page posts -------------------------------------------------------------------------------

const PATIENCE = 3000; // ms after which an event that gradio has not let go of is taken for lost

let attempt = 0; // redraws asked for; what is told late of one must not stop the next
let failed = 0; // the attempt during which gradio told last that a job had failed, this one or one before

// The mask as a PNG data URL, empty when nothing is painted; called by the Redraw button's event.
function takeMask() {
  endDrag();
  Object.assign(state, { pending: true, stopping: false, again: false });
  attempt += 1;
  setCount('drawn', 0);
  setCount('sent', 0);
  setMessage('');
  setBusy(true);
  state.said = find('.status').textContent;
  setStatus(t('Waiting for the model'));
  const hard = state.goOn ? player.finished?.hard : mask.hard();
  const more = moreSettings();
  const varied = more.of === 'result' && more.strength < 1 && Boolean(player.finished) && !state.anew;
  const mark = state.goOn ? player.finished?.mark : mask.done.at(-1);
  state.posted = { hard, mark, model: picker.model, settings: usualSettings(), ofResult: state.goOn || varied, anew: state.anew };
  if (!hard) return '';
  memory.hard = hard;
  return maskPng(hard);
}

// What is asked for beside the mask; called right after takeMask.
function takeSettings() {
  const settings = { ...moreSettings(), keep_going: state.goOn };
  if (settings.of === 'result' && state.edits && !player.finished) settings.of = 'picture'; // which shows the last result
  if (state.anew) delete settings.strength;
  Object.assign(state, { goOn: false, anew: false });
  return settings;
}

// More steps from where the result that is shown stands, under the mask that it was drawn for.
function keepGoing() {
  if (state.busy) return;
  if (!player.finished) return sayNoResult();
  state.goOn = true;
  press('redraw');
}

// Part of the last result has been rubbed out of its mask, and nothing added: that part is to stay as it was drawn. A mask
// that was begun anew, after Clear or from a file, is no rest of it, wherever it lies.
function rubbedOut() {
  if (!player.finished || !moreSettings().freeze) return null;
  if (mask.begunSince(player.finished.mark)) return null;
  const [before, now] = [bitsOf(player.finished.hard), mask.bits()];
  const less = now.some((bit, i) => bit < before[i]) && !now.some((bit, i) => bit > before[i]);
  return less && now.includes(1) ? now : null;
}

// Redraw pressed after some of the result was rubbed out: first the result becomes the picture.
document.addEventListener('click', (event) => {
  if (!root.isConnected || !event.target.closest('#redraw') || state.busy || state.pending || state.goOn) return;
  const rest = rubbedOut();
  if (!rest) return;
  event.stopImmediatePropagation();
  press('use');
  state.rest = rest; // after the press, at which what was left of one before is forgotten
}, true);

// Redraw pressed while the last job's event is not over: once more as soon as it is.
document.addEventListener('click', (event) => {
  if (!root.isConnected || !event.target.closest('#redraw') || !(state.pending || state.busy)) return;
  if (!state.busy && performance.now() - state.settled > PATIENCE) return;
  event.stopPropagation();
  if (state.busy) return;
  state.again = true;
  setStatus(t('Waiting for the last job to end'));
  setTimeout(goOn, PATIENCE);
}, true);

// Until takeMask has been called the press has not been heard: gradio may still be busy with the end of the last job.
function goOn() {
  if (state.again && !state.busy) press('redraw');
}

// What is saved or becomes the picture is the result that is shown; while another is drawn there is none.
document.addEventListener('click', (event) => {
  const { id } = event.target.closest('#use, #go-back, #go-forward, #download') ?? {};
  if (!root.isConnected || !id) return;
  if (id === 'use' && !turns.acting) state.rest = null;
  const saves = id === 'download';
  const ready = saves && player.run === player.finished;
  const stops = id.startsWith('go-'); // as any other picture
  if (state.busy && !stops && !ready && (saves || turnIsFree())) {
    event.stopPropagation();
    sayBusy();
  } else if (!saves && !mayPress(id)) event.stopPropagation();
  else if (!state.busy || ready) showResult();
}, true);

// Called when the visitor does something that stops a running job.
function stopping() {
  state.stopping = true;
  state.face = false;
}

// Called when gradio is done with a job's event, whether it ran, was stopped or was never taken. That one was stopped it
// tells once for each thing that stopped it, when the server has answered that: the next job may run by then.
function ended(well) {
  state.pending = false;
  if (!well) failed = attempt;
  if (state.again) setTimeout(goOn, 0); // gradio lets go of the event after it has told us
}

// Gradio says some things in pop-ups: that the connection is lost, or why a job was not taken. The strip says them;
// page.css hides the pop-ups. A job whose failing has not been told soon after will not be told of any more.
const TOLD = 600; // ms

function overheard(text) {
  if (state.sending || performance.now() - state.unsent < TOLD) return; // of a file: told better, and no job's end
  const told = attempt;
  setMessage(text);
  setTimeout(() => {
    if (!state.busy || told !== attempt) return;
    stop('');
    state.pending = false;
    if (failed === told) setMessage(notTaken());
  }, TOLD);
}

// From network.js. With the stream goes the job that waits for it: if the server does not know that, because no stream has
// reached it, the next job would wait until that one is done.
document.addEventListener('sundae-lost', ({ detail }) => {
  if (!root.isConnected) return;
  const lost = attempt;
  setMessage(t(detail.text));
  if (detail.stream) setTimeout(() => {
    if (!state.busy || lost !== attempt) return;
    trigger('abandon', { what: 'job', number: attempt });
    stop('');
    state.pending = false;
  }, TOLD);
});

new MutationObserver((changes) => {
  for (const node of changes.flatMap((change) => [...change.addedNodes])) {
    const text = node.querySelector?.('[data-testid=toast-text]');
    if (text) overheard(text.textContent.trim());
  }
}).observe(document.body, { childList: true, subtree: true });

window.sundae = {
  takeMask, stopping, ended, turnOver, keepGoing, sightFailed, filmMade, model: () => picker.model, settings: takeSettings,
};
edited();
receive();
