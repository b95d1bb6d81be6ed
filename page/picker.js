// Which model redraws: the one that the server found to fit the picture best, unless the visitor chooses another.
// The choice is kept for the picture. The component is empty where there is a single model.

const WHY = {
  saved: 'The model that this picture was saved with',
  picked: 'Picked: fits this picture best',
  chosen: 'Your choice for this picture',
  none: 'Looking which fits this picture best',
};

// How a prior draws, by its kind; what it cannot do is said here.
const HOW = {
  hourglass: 'Rewrites the whole region again and again, all cells at once (SUNDAE).',
  authorshourglass: 'Rewrites the whole region again and again, all cells at once (SUNDAE).',
  absorbing: 'Draws a few cells in each step; what is drawn stays (absorbing diffusion).',
  autoregressive: 'Draws cell by cell from the top left; does not see what lies to the right and below.',
};

// What a model is for and how it draws.
function inWords(model) {
  return [t(model?.what || ''), t(HOW[model?.prior] || '')].filter(Boolean).join(' ');
}

class Picker {
  constructor() {
    this.grids = []; // what the server says of each model (shelf.py); null for one that is not loaded
    this.clear();
    document.addEventListener('change', (event) => {
      if (!root.isConnected || !event.target.matches('#model input')) return;
      Object.assign(this, { chosen: Number(event.target.value), saved: false });
      this.show();
      cells.measure();
    });
  }

  // A new picture: nothing is known of it.
  clear() {
    this.restore({ picked: null, chosen: null, saved: false });
  }

  get state() {
    return { picked: this.picked, chosen: this.chosen, saved: this.saved };
  }

  // The model that a saved picture names; it stays, whichever fits the picture best.
  take(index) {
    Object.assign(this, { chosen: index, saved: true });
    this.show();
    cells.measure();
  }

  restore(state) {
    Object.assign(this, state);
    this.show();
  }

  pick(index) {
    this.picked = index;
    this.show();
  }

  // Place of the model on the server's shelf; null while the server has not said which fits best.
  get model() {
    return this.chosen ?? this.picked;
  }

  // Of the model that would redraw; null while it is not known.
  get grid() {
    return this.grids[this.model] ?? null;
  }

  learn(grids) {
    this.grids = grids;
    this.show();
  }

  // What visitors call a model; nothing where there is only one.
  label(index) {
    return document.querySelector(`#model input[value="${index}"] + span`)?.textContent || '';
  }

  show() {
    for (const field of document.querySelectorAll('#model input')) field.checked = Number(field.value) === this.model;
    const why = document.querySelector('#model .why');
    if (why) why.textContent = this.saved ? WHY.saved : this.chosen !== null ? WHY.chosen : this.picked !== null ? WHY.picked : WHY.none;
    const about = document.querySelector('#model .about');
    if (about) about.textContent = inWords(this.grid);
    for (const label of document.querySelectorAll('#model label')) {
      label.title = inWords(this.grids[Number(label.querySelector('input').value)]);
    }
    suitSteps(this.grid?.steps);
  }
}
