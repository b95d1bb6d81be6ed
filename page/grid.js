// All candidates on the stage at once, as large as they fit, at the step that is looked at: new faces to choose from. A
// click takes one, and so do the keys 1 to 8.

const GRID_GAP = 4; // px

class Grid {
  constructor(element) {
    this.element = element;
    for (const kind of ['pointerdown', 'pointerup']) {
      element.addEventListener(kind, (event) => event.stopPropagation()); // the stage below would paint
    }
    new ResizeObserver(() => this.draw(player.run)).observe(element);
  }

  get on() {
    return !this.element.hidden;
  }

  show(on) {
    this.element.hidden = !on;
    this.update(player.run);
  }

  update(run) {
    const button = find('[data-act=grid]');
    button.hidden = !run || run.candidates < 2 || !run.frames.length;
    button.setAttribute('aria-pressed', String(this.on));
    this.draw(run);
  }

  draw(run) {
    if (!this.on || !run) return;
    const { columns, side } = this.layout(run.candidates);
    this.element.style.gridTemplateColumns = `repeat(${columns}, ${side}px)`;
    showCandidates(this.element, run.candidates, run, side, run.step);
  }

  // In how many columns so many squares are largest; rather beside each other than below.
  layout(count) {
    const { clientWidth, clientHeight } = this.element;
    const room = (length, parts) => (length - GRID_GAP * (parts - 1)) / parts;
    const ways = [...Array(count).keys()].map((i) => {
      const side = Math.min(room(clientWidth, i + 1), room(clientHeight, Math.ceil(count / (i + 1))));
      return { columns: i + 1, side: Math.max(1, Math.floor(side)) };
    });
    return ways.reduce((best, way) => (way.side >= best.side ? way : best));
  }
}

function showGrid() {
  if (grid.on) return setMode('paint');
  if (!player.run || player.run.candidates < 2) return sayOneCandidate();
  return setMode('grid');
}
