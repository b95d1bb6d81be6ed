// Earlier results of this visit: a row of thumbnails; a click brings one back with picture, mask, candidates and settings.

const THUMBS = 64; // px, before the screen's own scale
const past = []; // { job, run, source, picked, hint, thumb }, the newest last

// A result is finished.
function remember(event) {
  const run = player.finished;
  const thumb = newCanvas(1, 1);
  player.drawThumb(thumb, run.choice, THUMBS);
  past.push({ job: run.job, run, source: state.source, picked: picker.state, hint: state.hint, thumb });
  keepOnly(event.kept);
}

// The server keeps so many; what it has dropped cannot come back.
function keepOnly(jobs) {
  past.splice(0, past.length, ...past.filter((each) => jobs.includes(each.job)));
  showPast();
}

function showPast() {
  const row = find('.past');
  row.hidden = past.length < 2;
  row.querySelector('.thumbs').replaceChildren(...past.map(thumbButton).reverse());
}

function thumbButton(entry, index) {
  const button = document.createElement('button');
  button.type = 'button';
  button.title = doneText(entry.run);
  button.setAttribute('aria-label', t('Bring result {number} back', { number: index + 1 }));
  button.setAttribute('aria-current', String(entry.run === player.finished));
  button.append(entry.thumb);
  button.addEventListener('click', () => {
    if (entry.run !== player.finished) trigger('recall', { job: entry.job });
  });
  return button;
}

// Another candidate of an earlier result is in use.
function showChoice(run) {
  const entry = past.find((each) => each.run === run);
  if (!entry) return;
  player.drawThumb(entry.thumb, run.choice, THUMBS);
  showPast();
}

// The picture that a result was drawn in has arrived: put the rest beside it.
function bringPastBack(job) {
  const entry = past.find((each) => each.job === job);
  if (!entry) return null;
  const { width, height } = mask.canvas;
  const { hard, settings, done: { seeds } } = entry.run;
  const done = [{ kind: 'bits', packed: pack(bitsOf(hard)) }];
  fillSettings({ ...settings, seed: seeds[0] });
  setHint(entry.hint);
  return { ...entry, mask: { baked: newCanvas(width, height), done, undone: [] }, choice: entry.picked, look: 'outline' };
}

find('.past .forget').addEventListener('click', () => trigger('forget'));
