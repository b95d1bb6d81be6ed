// Painting by keyboard: with the picture in focus the arrow keys move the tool, D puts it down and lifts it again.

const STRIDES = 64; // across the picture's longer side; with Shift a stride is one pixel
const REST = 500; // ms without a move after which the place is announced
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

class KeyBrush {
  constructor() {
    this.at = null; // where it is on the picture, once it has been moved
    this.down = false;
    this.timer = 0;
    stage.addEventListener('keydown', (event) => this.key(event));
    stage.addEventListener('blur', () => this.leave());
    for (const kind of ['pointerdown', 'pointermove']) stage.addEventListener(kind, () => this.leave());
  }

  key(event) {
    if (event.target !== stage || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!state.ready || state.busy || looking()) return;
    const way = ARROWS[event.key];
    if (way) this.move(way, event.shiftKey);
    else if (event.key.toLowerCase() === 'd') this.toggle();
    else if (event.key === 'Escape' && this.down) this.drop();
    else {
      if (event.key !== 'Shift') this.lift();
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  get shaping() {
    return ['rectangle', 'lasso'].includes(state.tool);
  }

  move([x, y], finely) {
    const from = this.at ?? { x: view.width / 2, y: view.height / 2 };
    const stride = finely ? 1 : Math.max(1, Math.max(view.width, view.height) / STRIDES);
    const inside = (place, length) => Math.min(length, Math.max(0, place));
    this.at = { x: inside(from.x + x * stride, view.width), y: inside(from.y + y * stride, view.height) };
    if (this.down && this.shaping) draft.extend(this.at);
    else if (this.down) paintAt(this.at);
    this.reveal();
    this.show();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell('At {x}, {y} px'), REST);
  }

  toggle() {
    if (this.down) this.lift();
    else this.put();
  }

  put() {
    this.at ??= { x: view.width / 2, y: view.height / 2 };
    this.down = true;
    setLook('tint');
    if (this.shaping) draft.begin(state.tool, this.at);
    else beginStroke(this.at);
    this.show();
    this.tell('Down at {x}, {y} px');
  }

  lift() {
    if (!this.down) return;
    this.down = false;
    const points = this.shaping ? draft.end() : null;
    if (points) mask.fill(points, false);
    mask.end();
    edited();
    this.tell('Up at {x}, {y} px');
  }

  // As if it had not been put down.
  drop() {
    this.down = false;
    draft.drop();
    mask.abandon();
    edited();
  }

  // The pointer takes over, or the focus goes elsewhere.
  leave() {
    this.lift();
    clearTimeout(this.timer);
    if (this.at) cursor.classList.remove('shown', 'keyed');
    this.at = null;
  }

  onScreen() {
    const box = view.sheet.getBoundingClientRect();
    return { x: box.x + this.at.x * view.scale, y: box.y + this.at.y * view.scale };
  }

  show() {
    if (!this.at) return;
    const { x, y } = this.onScreen();
    placeCursor(x, y);
    cursor.classList.add('shown', 'keyed');
  }

  // Where the picture is zoomed in, it moves along.
  reveal() {
    const box = stage.getBoundingClientRect();
    const { x, y } = this.onScreen();
    const missing = (place, low, high) => Math.max(0, low - place) + Math.min(0, high - place);
    view.pan(missing(x, box.left, box.right), missing(y, box.top, box.bottom));
  }

  tell(text) {
    clearTimeout(this.timer);
    if (this.at) announce(t(text, { x: Math.round(this.at.x), y: Math.round(this.at.y) }));
  }
}
