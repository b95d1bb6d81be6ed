// Rectangle and lasso: a line of marching dashes while the pointer is down, a filled shape when it lifts.

class Draft {
  constructor(line) {
    this.line = line;
    this.drop();
  }

  begin(tool, point) {
    this.tool = tool;
    this.points = [point];
  }

  extend(point) {
    if (this.tool === 'lasso') this.points.push(point);
    else this.points = rectangle(this.points[0], point);
    this.line.setAttribute('points', this.points.map(({ x, y }) => `${x},${y}`).join(' '));
  }

  // The finished shape, or null if it is too small to have been meant.
  end() {
    const { points } = this;
    this.drop();
    return Math.abs(area(points)) < 4 ? null : points;
  }

  drop() {
    this.points = [];
    this.line.setAttribute('points', '');
  }
}

function rectangle(from, to) {
  return [from, { x: to.x, y: from.y }, to, { x: from.x, y: to.y }];
}

// In square px, by the shoelace formula; negative for a line that runs the other way round.
function area(points) {
  return points.reduce((sum, a, i) => {
    const b = points[(i + 1) % points.length];
    return sum + (a.x * b.y - b.x * a.y) / 2;
  }, 0);
}
