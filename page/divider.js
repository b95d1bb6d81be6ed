// Three ways to look without painting: 'divided' by a line, with the original to its left, as a 'pair' of candidates
// (pair.js), and as a 'grid' of all of them (grid.js). While one is on, nothing is painted and the tools for it are out
// of reach.

const WHILE_LOOKING = ['zoomin', 'zoomout', 'fit', 'help', 'cancel', 'redraw', 'divide', 'pair', 'grid', 'keep'];

// mode: 'paint', 'divided', 'pair' or 'grid'.
function setMode(mode) {
  if (root.dataset.mode === mode) return;
  root.dataset.mode = mode;
  mask.end();
  draft.drop();
  for (const group of root.querySelectorAll('[data-paints]')) group.inert = mode !== 'paint';
  find('[data-act=divide]').setAttribute('aria-pressed', String(mode === 'divided'));
  divider.show(mode === 'divided');
  pair.show(mode === 'pair');
  grid.show(mode === 'grid');
  edges.show();
  updatePairButton(player.run);
}

function looking() {
  return root.dataset.mode !== 'paint';
}

// The line is at a whole pixel of the picture: to its left no pixel is the result's, to its right none the original's.
class Divider {
  constructor(line, result) {
    this.line = line;
    this.result = result;
    this.at = null; // px from the picture's left edge
    line.addEventListener('keydown', (event) => this.key(event));
  }

  show(on) {
    this.line.hidden = !on;
    this.result.style.clipPath = '';
    if (!on) return;
    this.moveTo(this.at ?? this.middle());
    this.line.focus({ preventScroll: true });
  }

  // First and last pixel that the stage shows.
  range() {
    const box = stage.getBoundingClientRect();
    const inside = (x) => Math.min(view.width, Math.max(0, x));
    return [Math.ceil(inside(view.toPicture(box.left, 0).x)), Math.floor(inside(view.toPicture(box.right, 0).x))];
  }

  middle() {
    const [first, last] = this.range();
    return (first + last) / 2;
  }

  moveTo(x) {
    const [first, last] = this.range();
    this.at = Math.round(Math.min(last, Math.max(first, x)));
    this.draw();
  }

  draw() {
    this.result.style.clipPath = `inset(0 0 0 ${this.at}px)`;
    const left = view.toStage(this.at);
    this.line.style.transform = `translateX(${left}px)`;
    const share = Math.round((100 * this.at) / view.width);
    this.line.setAttribute('aria-valuenow', share);
    this.line.setAttribute('aria-valuetext', t('{left} % original, {right} % result', { left: share, right: 100 - share }));
  }

  // The picture has moved under the line: it stays where it can be reached.
  moved() {
    if (!this.line.hidden) this.moveTo(this.at);
  }

  key(event) {
    const [first, last] = this.range();
    const step = event.shiftKey ? 1 : Math.max(1, (last - first) / 50);
    const to = {
      ArrowLeft: this.at - step, ArrowDown: this.at - step, ArrowRight: this.at + step, ArrowUp: this.at + step,
      PageDown: this.at - (last - first) / 8, PageUp: this.at + (last - first) / 8, Home: first, End: last,
    }[event.key];
    if (to === undefined) return;
    this.moveTo(to);
    event.preventDefault();
  }
}

function divide() {
  if (root.dataset.mode === 'divided') return setMode('paint');
  if (!player.run) return sayNoResult();
  return setMode('divided');
}
