// The rim that the picture is to be extended by: shown around it while it is chosen, and drawn out at the edges.

const RIM_STEP = 32; // px, for the arrow keys
const MAX_RIM = 4096; // px on one side, as in session.py
const ROOM = 1.6; // how much further away the picture is seen while an edge is drawn out
const OUTWARDS = { left: [-1, 0], right: [1, 0], top: [0, -1], bottom: [0, 1] };

class Rim {
  constructor(frame) {
    this.frame = frame;
    this.handles = [...frame.querySelectorAll('[data-rim]')];
    this.drag = null;
    document.addEventListener('toggle', (event) => { if (event.target.matches?.('.whole')) this.show(); }, true);
    document.addEventListener('input', (event) => { if (event.target.matches('[data-margin]')) this.show(); });
    for (const handle of this.handles) this.listen(handle);
  }

  listen(handle) {
    handle.addEventListener('pointerdown', (event) => this.start(handle, event));
    handle.addEventListener('pointermove', (event) => this.move(event));
    for (const kind of ['pointerup', 'pointercancel']) handle.addEventListener(kind, (event) => this.end(event));
    handle.addEventListener('keydown', (event) => this.press(handle.dataset.rim, event));
  }

  field(side) {
    return document.querySelector(`[data-margin='${side}']`);
  }

  // px of the picture as it was loaded; 0 where the field holds no number that will do.
  margin(side) {
    const field = this.field(side);
    return field?.validity.valid ? Number(field.value) : 0;
  }

  set(side, px) {
    this.field(side).value = String(Math.min(MAX_RIM, Math.max(0, Math.round(px))));
    this.show();
  }

  clear() {
    for (const side of Object.keys(OUTWARDS)) if (this.field(side)) this.field(side).value = '0';
    this.show();
  }

  // px of the page's canvas for each px of the picture, which may be larger
  get share() {
    return view.width / cells.size[0];
  }

  show() {
    this.frame.hidden = !document.querySelector('.whole')?.open || looking();
    if (!this.drag) view.setMargins(this.margins, 1);
    this.moved();
    for (const handle of this.handles) {
      const side = handle.dataset.rim;
      handle.setAttribute('aria-valuenow', this.margin(side));
      handle.querySelector('span').textContent = this.margin(side) ? `${this.margin(side)} px` : '';
    }
  }

  // px of the page's canvas
  get margins() {
    const px = (side) => (this.frame.hidden ? 0 : this.margin(side) * this.share);
    return { left: px('left'), right: px('right'), top: px('top'), bottom: px('bottom') };
  }

  // The frame lies around the picture and its rim, wherever these are on the stage.
  moved() {
    if (this.frame.hidden) return;
    const { left, right, top, bottom } = this.margins;
    const [corner, scale] = [view.corner, view.scale];
    this.frame.style.translate = `${corner.left - left * scale}px ${corner.top - top * scale}px`;
    this.frame.style.width = `${(left + view.width + right) * scale}px`;
    this.frame.style.height = `${(top + view.height + bottom) * scale}px`;
  }

  start(handle, event) {
    if (state.busy || event.button) return;
    event.preventDefault();
    event.stopPropagation();
    handle.focus({ preventScroll: true });
    handle.setPointerCapture(event.pointerId);
    const side = handle.dataset.rim;
    this.drag = { id: event.pointerId, side, x: event.clientX, y: event.clientY, px: this.margin(side) };
    view.setMargins(this.margins, ROOM); // and stays so until the edge is let go
    this.drag.scale = view.scale;
  }

  move(event) {
    const { drag } = this;
    if (drag?.id !== event.pointerId) return;
    event.stopPropagation();
    const [right, down] = OUTWARDS[drag.side];
    const outwards = right * (event.clientX - drag.x) + down * (event.clientY - drag.y);
    this.set(drag.side, drag.px + outwards / drag.scale / this.share);
  }

  end(event) {
    if (this.drag?.id !== event.pointerId) return;
    event.stopPropagation();
    this.drag = null;
    this.show();
  }

  press(side, event) {
    const [right, down] = OUTWARDS[side];
    const steps = { ArrowRight: right || 1, ArrowLeft: -right || -1, ArrowDown: down || -1, ArrowUp: -down || 1 }[event.key];
    if (steps === undefined || state.busy) return;
    event.preventDefault();
    event.stopPropagation();
    this.set(side, this.margin(side) + steps * RIM_STEP);
  }
}

