// Which model redraws: the one that the server found to fit the picture best, unless the visitor chooses another.
// The choice is kept for the picture. The component is empty where there is a single model.

const WHY = {
  picked: 'Picked: fits this picture best',
  chosen: 'Your choice for this picture',
  none: 'Looking which fits this picture best',
};

class Picker {
  constructor() {
    this.grids = []; // resolution and cell of each model, in px; null for one that is not loaded
    this.clear();
    document.addEventListener('change', (event) => {
      if (!root.isConnected || !event.target.matches('#model input')) return;
      this.chosen = Number(event.target.value);
      this.show();
      cells.measure();
    });
  }

  // A new picture: nothing is known of it.
  clear() {
    this.restore({ picked: null, chosen: null });
  }

  get state() {
    return { picked: this.picked, chosen: this.chosen };
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

  // What visitors call a model; nothing where there is only one.
  label(index) {
    return document.querySelector(`#model input[value="${index}"] + span`)?.textContent || '';
  }

  show() {
    for (const field of document.querySelectorAll('#model input')) field.checked = Number(field.value) === this.model;
    const why = document.querySelector('#model .why');
    if (why) why.textContent = this.chosen !== null ? WHY.chosen : this.picked !== null ? WHY.picked : WHY.none;
  }
}
