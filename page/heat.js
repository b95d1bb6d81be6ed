// Heat maps over the cells that are redrawn, at the step that is looked at: how unsure the model was of each, and when
// each last changed. Few bits are the rule: the scale of uncertainty goes by their square root.

const UNKNOWN = 255; // as in heat.py
const HEATS = ['nothing', 'unsure', 'changed'];

class Heat {
  constructor(canvas, choice, legend) {
    this.canvas = canvas;
    this.choice = choice;
    this.legend = legend;
    this.choice.addEventListener('change', () => this.draw(player.run));
    const gradient = HEAT.filter((_, i) => i % 15 === 0).join(', ');
    legend.querySelector('.scale').style.background = `linear-gradient(to right, ${gradient})`;
  }

  // What of the run can be shown.
  get what() {
    return HEATS[this.choice.selectedIndex];
  }

  offer(run) {
    const known = Boolean(run?.frames[0]?.heat);
    const tells = known && run.frames[0].heat.unsure !== null;
    const option = this.choice.options[HEATS.indexOf('unsure')];
    if (known && option.disabled === tells) {
      option.disabled = !tells;
      option.textContent = tells ? t('Uncertainty') : t('Uncertainty: this model does not tell');
      if (!tells && this.what === 'unsure') this.choice.selectedIndex = 0;
    }
  }

  draw(run) {
    this.offer(run);
    this.canvas.width = player.base.width; // and is empty
    this.canvas.height = player.base.height;
    const frame = run?.frames[run.step - 1];
    const shown = frame?.heat && this.what !== 'nothing';
    this.legend.hidden = !shown;
    if (!shown) return;
    const grid = run.frames[0].heat.grid;
    this.explain(grid, run);
    const values = bytesOf(frame.heat[this.what][run.choice]);
    const share = this.what === 'unsure' ? (byte) => Math.sqrt(byte / (UNKNOWN - 1)) : (step) => step / run.total;
    const pen = this.canvas.getContext('2d');
    hiddenCells(grid, this.canvas).forEach(([left, top, width, height], i) => {
      if (this.what === 'unsure' && values[i] === UNKNOWN) return;
      pen.fillStyle = HEAT[Math.round(255 * share(values[i]))];
      pen.fillRect(left, top, width, height);
    });
  }

  explain(grid, run) {
    const put = (part, text) => { this.legend.querySelector(part).textContent = text; };
    const unsure = this.what === 'unsure';
    const bits = (share) => Number((share * grid.most).toFixed(1));
    put('.low', unsure ? t('sure: {bits} bits a token', { bits: 0 }) : t('the start'));
    put('.high', unsure ? t('any code: {bits} bits', { bits: bits(1) }) : t('step {number}', { number: run.total }));
    put('.what', unsure
      ? t('How unsure the model was of a cell when it last drew it; {bits} bits in the middle. A cell without a colour is still noise.', { bits: bits(0.25) })
      : t('The step in which a cell last changed.'));
  }
}

// Left, top, width and height on the canvas of every hidden cell, row by row.
function hiddenCells(grid, canvas) {
  const { columns, rows } = cells.edges(canvas.width, canvas.height, grid);
  const hidden = bytesOf(grid.hidden);
  return rows.flatMap(([top, bottom], row) => columns.flatMap(([left, right], column) => (
    hidden[row * columns.length + column] ? [[left, top, right - left, bottom - top]] : [])));
}

function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
