// What goes to the server and what comes from it.

const SLOTS = 8; // as in painter.py: the server posts event n in slot n % SLOTS, so that none is overwritten unseen
const MAX_UPLOAD = 64 * 1024 * 1024; // bytes, as in painter.py

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
    setBusy(true); // also when the end of the job before, told late, was taken for a refusal of this one
    setMessage('');
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

let attempt = 0; // redraws asked for; what is told late of one must not stop the next

// The mask as a PNG data URL, empty when nothing is painted; called by the Redraw button's event.
function takeMask() {
  mask.end();
  Object.assign(state, { pending: true, stopping: false, again: false });
  attempt += 1;
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
  if (state.busy) return;
  state.again = true;
  setStatus('Waiting for the last job to end');
  setTimeout(goOn, PATIENCE);
}, true);

function goOn() {
  if (!state.again || !state.pending || state.busy) return;
  state.again = false;
  press('redraw');
}

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
  const told = attempt;
  setMessage(text);
  setTimeout(() => {
    if (!state.busy || told !== attempt) return;
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
