// Earlier results of this visit: a row of thumbnails; a click brings one back with picture, mask, candidates and settings.
// A run has one place in it, which follows the candidate that is chosen. Candidates that were kept stand beside it as they
// are; while one of them is the chosen one, the run needs no other place.

const THUMBS = 64; // px, before the screen's own scale
const past = []; // { job, run, source, picked, hint, thumb, kept }, the newest last; kept: { index, thumb } of candidates

// A result is finished.
function remember(event) {
  const run = player.finished;
  past.push({ job: run.job, run, source: state.source, picked: picker.state, hint: state.hint, thumb: newCanvas(1, 1), kept: [] });
  keepOnly(event.kept);
}

// The server keeps so many; what it has dropped cannot come back.
function keepOnly(jobs) {
  past.splice(0, past.length, ...past.filter((each) => jobs.includes(each.job)));
  showPast();
}

// All are cleared but the result that is here, and of that no candidate is kept apart.
function forgetPast(jobs) {
  for (const each of past) each.kept = [];
  keepOnly(jobs);
  updateKeepButton(player.run);
  if (find('.past').hidden) stage.focus({ preventScroll: true }); // the button that was pressed is gone
}

const keptOf = (entry, index) => entry?.kept.find((each) => each.index === index);

// The row: of each run the candidates that are kept, then the chosen one.
function showPast() {
  const row = find('.past');
  const here = past.find((each) => each.run === player.run && each.run === player.finished);
  if (here) player.drawThumb(here.thumb, here.run.choice, THUMBS);
  row.hidden = !past.some((each) => each.run !== player.finished || each.kept.length);
  const byKeyboard = row.querySelector('.thumbs :focus-visible');
  row.querySelector('.thumbs').replaceChildren(...past.flatMap(thumbButtons).reverse());
  if (byKeyboard) row.querySelector('[aria-current=true]')?.focus({ preventScroll: true });
}

function thumbButtons(entry, place) {
  const { run } = entry;
  const number = place + 1;
  const kept = entry.kept.map(({ index, thumb }) => {
    const button = thumbButton(entry, index, thumb);
    button.dataset.kept = index + 1;
    button.setAttribute('aria-label', t('Bring candidate {candidate} of result {number} back', { candidate: index + 1, number }));
    return button;
  });
  if (keptOf(entry, run.choice)) return kept;
  const button = thumbButton(entry, run.choice, entry.thumb);
  button.setAttribute('aria-label', t('Bring result {number} back', { number }));
  return [...kept, button];
}

function thumbButton(entry, index, thumb) {
  const button = document.createElement('button');
  button.type = 'button';
  button.title = doneText(entry.run, index);
  button.setAttribute('aria-current', String(entry.run === player.finished && index === entry.run.choice));
  button.append(thumb);
  button.addEventListener('click', () => {
    if (button.getAttribute('aria-current') === 'false') recall(entry, index);
  });
  return button;
}

// Of the run that is here there is only another candidate to choose; anything else the server has to bring.
function recall(entry, index) {
  const { job, run } = entry;
  if (run !== player.finished || state.busy || !turnIsFree()) {
    const turn = (state.turns += 1);
    return askFor('recall', () => ({ job, index, turn }));
  }
  setMode('paint');
  choose(index);
  fillSettings(settingsOf(run));
  const bits = bitsOf(run.hard);
  if (mask.bits().some((bit, i) => bit !== bits[i])) change(() => mask.set(bits)); // which can be undone
  run.mark = mask.done.at(-1);
  setLook('outline');
  return undefined;
}

// The picture that a result was drawn in has arrived: put the rest beside it.
function bringPastBack({ job, index }) {
  const entry = past.find((each) => each.job === job);
  if (!entry) return null;
  const { width, height } = mask.canvas;
  const done = [{ kind: 'bits', packed: pack(bitsOf(entry.run.hard)) }];
  Object.assign(entry.run, { choice: index, mark: done[0] });
  const fields = settingsOf(entry.run);
  return { ...entry, mask: { baked: newCanvas(width, height), done, undone: [] }, choice: entry.picked, look: 'outline', fields };
}

function settingsOf({ settings, done: { seeds } }) {
  return { ...settings, seed: seeds[0] };
}

// ---- one of several candidates, kept -------------------------------------------------------------------------------

// The candidate that is shown gets a place of its own.
function keepCandidate() {
  const run = player.finished;
  if (!run) return sayNoResult();
  if (run !== player.run) return sayBusy();
  if (run.candidates < 2) return setMessage(t('There is a single candidate: it is kept as it is.'));
  const entry = past.find((each) => each.run === run);
  if (!entry) return setMessage(t('This result is not kept any more.'));
  if (keptOf(entry, run.choice)) return announce(t('This candidate is kept already.'));
  const thumb = newCanvas(1, 1);
  player.drawThumb(thumb, run.choice, THUMBS);
  entry.kept.push({ index: run.choice, thumb });
  trigger('keep', { job: run.job });
  showPast();
  updateKeepButton(run);
  return announce(t('Candidate {number} is kept.', { number: run.choice + 1 }));
}

function updateKeepButton(run) {
  const button = find('[data-act=keep]');
  const kept = keptOf(past.find((each) => each.run === run), run?.choice);
  button.hidden = !run || run !== player.finished || run.candidates < 2 || !past.some((each) => each.run === run);
  button.setAttribute('aria-pressed', String(Boolean(kept)));
  button.textContent = t(kept ? 'Kept' : 'Keep');
}

find('.past .forget').addEventListener('click', () => trigger('forget'));
