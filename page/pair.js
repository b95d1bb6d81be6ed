// Two candidates side by side, each whole: one zoom and pan for both. A click takes one; the strip says which two.

const STILL = 5; // px a pointer may move in a click

class Pane {
  constructor(element, take) {
    this.element = element;
    this.canvas = element.querySelector('canvas');
    this.view = new View(element, element.querySelector('.sheet'));
    this.index = 0;
    element.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault();
      event.stopPropagation();
      take(this.index);
    });
  }

  draw(index, run) {
    const number = index + 1;
    const name = index === run.choice ? t('Candidate {number} · in use', { number }) : t('Candidate {number}', { number });
    this.index = index;
    this.element.querySelector('.chip').textContent = name;
    this.element.setAttribute('aria-label', t('Use candidate {number}', { number }));
    player.drawWhole(this.canvas, index);
  }
}

class Pair {
  constructor(element) {
    this.element = element;
    this.panes = [...element.children].map((pane) => new Pane(pane, (index) => this.take(index)));
    this.other = 1; // the candidate beside the one in use
    this.down = new Map(); // pointers, by id
    this.travelled = 0; // px since the first pointer went down
    for (const pane of this.panes) this.listen(pane);
  }

  get on() {
    return !this.element.hidden;
  }

  show(on) {
    this.element.hidden = !on;
    this.down.clear();
    if (!on) return;
    this.element.classList.toggle('stacked', view.width > 1.3 * view.height);
    for (const pane of this.panes) pane.view.setPicture(view.width, view.height);
    this.draw();
    this.panes[1].element.focus({ preventScroll: true });
  }

  // At the step that is looked at.
  draw() {
    const run = player.run;
    if (!this.on || !run) return;
    if (this.other === run.choice || this.other >= run.candidates) this.other = (run.choice + 1) % run.candidates;
    this.panes[0].draw(run.choice, run);
    this.panes[1].draw(this.other, run);
  }

  // A candidate of the strip comes beside the one in use.
  bring(index) {
    if (index !== player.run.choice) this.other = index;
    this.draw();
    updateStrip(player.run);
  }

  take(index) {
    setMode('paint');
    choose(index);
    stage.focus({ preventScroll: true });
  }

  zoomAt(factor, pane = null, x = undefined, y = undefined) {
    const from = pane?.element.getBoundingClientRect();
    for (const each of this.panes) {
      const to = each.element.getBoundingClientRect();
      each.view.zoomAt(factor, from && x - from.x + to.x, from && y - from.y + to.y);
    }
  }

  pan(dx, dy) {
    for (const pane of this.panes) pane.view.pan(dx, dy);
  }

  fit() {
    for (const pane of this.panes) pane.view.fit();
  }

  listen(pane) {
    const { element } = pane;
    element.addEventListener('pointerdown', (event) => {
      event.preventDefault();
      event.stopPropagation(); // the stage below would paint
      element.setPointerCapture(event.pointerId);
      if (!this.down.size) this.travelled = 0;
      this.down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    });
    element.addEventListener('pointermove', (event) => this.move(pane, event));
    element.addEventListener('pointerup', (event) => {
      if (this.down.delete(event.pointerId) && !this.down.size && this.travelled < STILL) this.take(pane.index);
    });
    element.addEventListener('pointercancel', (event) => this.down.delete(event.pointerId));
    element.addEventListener('wheel', (event) => {
      event.preventDefault();
      event.stopPropagation();
      this.zoomAt(wheelFactor(event), pane, event.clientX, event.clientY);
    }, { passive: false });
  }

  move(pane, event) {
    const before = this.down.get(event.pointerId);
    event.stopPropagation();
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const fixed = [...this.down].find(([id]) => id !== event.pointerId)?.[1];
    this.travelled += Math.hypot(now.x - before.x, now.y - before.y) + (fixed ? STILL : 0);
    this.pan((now.x - before.x) / this.down.size, (now.y - before.y) / this.down.size);
    const apart = (point) => Math.hypot(point.x - fixed.x, point.y - fixed.y) || 1;
    if (fixed) this.zoomAt(apart(now) / apart(before), pane, (now.x + fixed.x) / 2, (now.y + fixed.y) / 2);
    this.down.set(event.pointerId, now);
  }
}

function showPair() {
  if (root.dataset.mode === 'pair') return setMode('paint');
  if (!player.run || player.run.candidates < 2) return sayOneCandidate();
  return setMode('pair');
}

function sayOneCandidate() {
  setMessage(t('There is a single candidate: ask for more, then press Redraw.'));
}

function updatePairButton(run) {
  const button = find('[data-act=pair]');
  button.hidden = !run || run !== player.finished || run.candidates < 2;
  button.setAttribute('aria-pressed', String(root.dataset.mode === 'pair'));
}
