// The settings below the others: read when a redraw is asked for. An empty field leaves the model what suits it.

const SMALLEST = 0.05; // strength, as in checks.py
const MAX_SEED = 2 ** 32 - 1; // as in checks.py

// Without what binary numbers add to a decimal one: 33.3 / 100 is 0.333 and not 0.33299999999999996.
const decimal = (value) => Number(value.toPrecision(15));

const settingFields = () => [...document.querySelectorAll('.more [data-setting]')];

// What is asked for, by the names that the server knows (checks.py); null where a number makes no sense.
function moreSettings() {
  const asked = {};
  for (const field of settingFields()) {
    if (field.type === 'checkbox') asked[field.dataset.setting] = field.checked;
    else if (field.type !== 'number') asked[field.dataset.setting] = field.value;
    else if (!field.validity.valid && !field.validity.stepMismatch) asked[field.dataset.setting] = null;
    else if (field.value !== '') asked[field.dataset.setting] = decimal(Number(field.value) / Number(field.dataset.part || 1));
  }
  return asked;
}

function resetSettings() {
  for (const field of settingFields()) {
    if (field.type === 'checkbox') field.checked = field.defaultChecked;
    else if (field.type === 'number') field.value = '';
    else field.selectedIndex = 0;
  }
  cells.measure();
}

// Which cells are redrawn, by masks.token_mask: those of which any pixel is painted, or all.
function cellRule() {
  return document.getElementById('s-rule')?.value ?? 'any';
}

document.addEventListener('change', (event) => {
  if (root.isConnected && event.target.id === 's-rule') cells.measure();
});

document.addEventListener('click', (event) => {
  if (root.isConnected && event.target.closest('.more .reset')) resetSettings();
});

// ---- the fields that gradio draws ----------------------------------------------------------------------

const USUAL = { seed: '#seed input', steps: '#steps input[type=number]' };

let usualSteps = 24; // as in app.py, until the server has said what suits the model
let filledSteps = null; // as they were filled in last: those were asked for, though they may be the usual ones

// Another model: as many steps as suit it, unless the visitor has asked for another number.
function suitSteps(steps) {
  if (!steps || steps === usualSteps) return;
  const now = Number(document.querySelector(USUAL.steps)?.value);
  if (now === usualSteps && now !== filledSteps) type(USUAL.steps, steps);
  usualSteps = steps;
}

// The arrow keys go from one number of candidates to the next, as in any such choice: to the browser each of gradio's is
// a choice of its own.
document.addEventListener('keydown', (event) => {
  const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!by || !root.isConnected || !event.target.matches('#candidates input')) return;
  const fields = [...document.querySelectorAll('#candidates input')];
  const next = fields[fields.indexOf(event.target) + by];
  next?.focus();
  next?.click();
  event.preventDefault();
});

// Seed, steps and candidates as they stand, with those below the others.
function usualSettings() {
  const number = (selector) => Number(document.querySelector(selector)?.value);
  const candidates = document.querySelector('#candidates input:checked')?.value;
  const more = settingFields().map((field) => [field.id || field.dataset.setting, field.type === 'checkbox' ? field.checked : field.value]);
  return { seed: number(USUAL.seed), steps: number(USUAL.steps), candidates: Number(candidates), more: Object.fromEntries(more) };
}

// All of that and whether the seed is locked, to be filled in when the picture comes back that it stands beside.
function fieldsAsTheyAre() {
  return { ...usualSettings(), locked: lockField().checked, filled: filledSteps };
}

const lockField = () => document.querySelector('#lock input');
let lockedForIt = false; // the seed, by settings that came back, and not by the visitor

document.addEventListener('change', (event) => {
  if (event.target === lockField()) lockedForIt = false;
});

// What the seed was locked for has gone.
function unlockAgain() {
  if (lockedForIt && lockField().checked) lockField().click();
  lockedForIt = false;
}

// Put settings back into the fields; the seed is locked, so that they draw the same again, unless it was not.
function fillSettings({ seed, steps, candidates, more, locked = true, filled = steps }) {
  if (Number.isFinite(seed)) {
    type(USUAL.seed, seed);
    if (lockField().checked !== locked) {
      lockField().click();
      lockedForIt = locked;
    }
  }
  if (Number.isFinite(steps)) {
    filledSteps = filled;
    type(USUAL.steps, steps);
  }
  const wanted = [...document.querySelectorAll('#candidates input')].find((field) => Number(field.value) === candidates);
  if (wanted && !wanted.checked) wanted.click();
  for (const field of settingFields()) {
    const value = more?.[field.id || field.dataset.setting];
    if (value === undefined) continue;
    if (field.type === 'checkbox') field.checked = value;
    else field.value = value;
  }
  cells.measure();
}

// As a visitor would: gradio reads a field when it hears of its input.
function type(selector, value) {
  const field = document.querySelector(selector);
  if (!field) return;
  field.value = String(value);
  for (const kind of ['input', 'change', 'blur']) field.dispatchEvent(new Event(kind, { bubbles: true }));
}

// Settings as a saved picture has them, as the fields have them; tells what they cannot hold. More steps from a result
// ("Keep going") have hardly any strength: what counts is how that result was drawn.
function fromFile(saved, maker) {
  const told = [t('This picture was saved by Sundae: its settings are filled in.')];
  let about = saved;
  while (about.strength < SMALLEST && Number.isFinite(about.began_with?.seed)) about = about.began_with;
  if (about !== saved) told.push(t('More steps were taken after these.'));
  if (about.began_with) told.push(t('It was a variation of a result, which the file does not hold: these alone do not draw it again.'));
  const { more, beyond } = moreFromFile(about);
  const steps = Number.isInteger(about.steps) && isIn(document.querySelector(USUAL.steps), about.steps) ? about.steps : NaN;
  const seed = Number.isInteger(about.seed) && isIn({ min: 0, max: MAX_SEED }, about.seed) ? about.seed : NaN;
  if (beyond || Number.isNaN(steps) || Number.isNaN(seed) || hasNoField(about, maker)) told.push(t('Some of them are beyond what the fields take, and left out.'));
  if (about.proportion_end !== about.proportion_start) told.push(t('Its proportion changed from step to step: the field has the first.'));
  if (maker.place === null) told.push(t('The model that it was saved with, {name}, is not here.', { name: maker.name }));
  else if (maker.same === null) told.push(t('Whether it was saved with this version of its model is not known: the model is still loading.'));
  else if (!maker.same) told.push(t('It was saved with another version of this model.'));
  setMessage(told.join(' '));
  return { seed, steps, candidates: 1, more };
}

// Whether it was drawn with more than the page has fields for, otherwise than the model would: from the command line
// or by a program.
function hasNoField(about, maker) {
  return Boolean(about.grow) || Object.entries(maker.usual).some(([name, value]) => name in about && about[name] !== value);
}

// A share as its field has it, such that the field's value is that share again.
const percent = (share) => decimal(100 * share);

const isIn = ({ min, max }, value) => Number.isFinite(value) && value >= Number(min) && value <= Number(max);

// What the fields below the others hold of it, and whether any would refuse what there is.
function moreFromFile(about) {
  const more = Object.fromEntries(settingFields().map((field) => [field.id, '']));
  let beyond = false;
  const put = (id, value) => {
    if (!Number.isFinite(value)) return;
    if (isIn(document.getElementById(id), value)) more[id] = String(value);
    else beyond = true;
  };
  put('s-strength', about.strength < 1 ? percent(about.strength) : NaN);
  put('s-first', about.temperature_start);
  put('s-last', about.temperature_end);
  put('s-proportion', percent(about.proportion_start)); // 100 too: left empty the model takes what suits it
  put('s-feather', about.from_nothing ? NaN : about.feather); // a picture without a rim was drawn without one
  more['s-rule'] = about.mask_rule === 'all' ? 'all' : 'any';
  more['s-of'] = 'picture';
  delete more[''];
  return { more, beyond };
}
