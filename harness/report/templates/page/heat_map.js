// Heat map of the whole matrix: entries by family across, one row a backend and precision.

class HeatMap {
  constructor(data, canvas, spoken, rows) {
    Object.assign(this, {data, canvas, spoken, rows});
    this.at = null;
    this.tip = el('div', {class: 'tip', hidden: true, role: 'presentation'});
    document.body.append(this.tip);
    canvas.addEventListener('pointermove', event => this.point(event));
    canvas.addEventListener('pointerleave', () => { this.tip.hidden = true; this.mark(null); });
    canvas.addEventListener('click', event => { this.point(event); this.open(); });
    canvas.addEventListener('keydown', event => this.key(event));
    canvas.addEventListener('blur', () => { this.tip.hidden = true; this.mark(null); });
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
  }

  // Show the cells that match: their entries across, and of each square the worst of its heads.
  show(matching) {
    const {data} = this, {cells, entries} = data;
    const present = [...new Set(matching.map(at => cells.entry[at]))];
    present.sort((a, b) => entries.family[a] - entries.family[b] || a - b);
    this.entries = present;
    const place = new Map(present.map((entry, at) => [entry, at]));
    this.squares = new Map();
    for (const at of matching) {
      const key = cells.column[at] * 65536 + place.get(cells.entry[at]);
      const found = this.squares.get(key);
      if (found) found.push(at); else this.squares.set(key, [at]);
    }
    this.families = [];
    present.forEach((entry, at) => {
      const family = entries.family[entry], last = this.families.at(-1);
      if (last && last.family === family) last.count++;
      else this.families.push({family, from: at, count: 1});
    });
    this.at = null;
    this.draw();
  }

  // A family begins after a gap, where there is room for one.
  layout() {
    const gaps = this.families.length - 1;
    const gap = this.width > this.entries.length * 1.5 + gaps * 2 ? 2 : gaps ? 1 : 0;
    this.step = Math.min(24, (this.width - gaps * gap) / Math.max(1, this.entries.length));
    this.left = new Float64Array(this.entries.length);
    this.families.forEach((family, index) => {
      for (let at = family.from; at < family.from + family.count; at++)
        this.left[at] = at * this.step + index * gap;
    });
  }

  draw() {
    if (!this.entries) return;
    const {canvas, data} = this, box = canvas.parentElement;
    this.width = box.clientWidth;
    const tops = this.rows.map(row => row.getBoundingClientRect());
    const top = box.getBoundingClientRect().top;
    this.tops = tops.map((rect, at) => ({top: rect.top - top, height: rect.height, column: at}));
    if (!tops.every(rect => rect.height > 0)) return;  // another page is shown
    this.height = this.tops.at(-1).top + this.tops.at(-1).height;
    this.layout();
    const scale = devicePixelRatio || 1;
    canvas.width = Math.round(this.width * scale);
    canvas.height = Math.round(this.height * scale);
    canvas.style.width = this.width + 'px';
    canvas.style.height = box.style.height = this.height + 'px';
    const context = canvas.getContext('2d');
    context.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const colours = KINDS.map(kind => style.getPropertyValue(`--k-${kind.name}`).trim());
    this.nameFamilies();
    const later = [];
    for (const [key, found] of this.squares) {
      const kind = this.worst(found);
      if (kind >= 4) { later.push([key, kind]); continue; }
      this.fill(context, key, colours[kind], 0);
    }
    // What asks for attention is drawn last, and never narrower than two pixels.
    for (const [key, kind] of later) this.fill(context, key, colours[kind], 2);
    if (this.at) this.outline(context, style);
  }

  nameFamilies() {
    byId('family-names').replaceChildren(...this.families.map(({family, from, count}) => {
      const name = this.data.families[family];
      const span = el('span', {title: name}, name);
      span.style.left = this.left[from] + 'px';
      span.style.width = count * this.step + 'px';
      return span;
    }));
  }

  worst(found) {
    return found.reduce((worst, at) => Math.max(worst, this.data.kind[at]), 0);
  }

  fill(context, key, colour, least) {
    const place = key % 65536, row = this.tops[Math.floor(key / 65536)];
    const gap = this.step >= 6 ? 1 : 0;
    context.fillStyle = colour;
    context.fillRect(this.left[place], row.top + 1, Math.max(this.step - gap, least),
      Math.max(row.height - 2, 2));
  }

  outline(context, style) {
    const row = this.tops[this.at.column];
    context.strokeStyle = style.getPropertyValue('--ink');
    context.lineWidth = 2;
    context.strokeRect(this.left[this.at.place] - 1, row.top, Math.max(this.step + 2, 5),
      row.height);
  }

  mark(at) {
    this.at = at;
    this.draw();
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const column = this.tops.findIndex(row => y >= row.top && y < row.top + row.height);
    let place = this.left.findLastIndex(left => left <= x);
    if (column < 0 || place < 0 || x > this.left[place] + this.step + 2) return;
    this.select(column, place, event.clientX, event.clientY);
  }

  // Name a square: in a tip beside it, and to a screen reader.
  select(column, place, x, y) {
    this.mark({column, place});
    const box = this.canvas.getBoundingClientRect();
    const text = this.describe(column, place);
    this.tip.replaceChildren(...text.map((line, at) => el(at ? 'div' : 'b', {}, line)));
    this.tip.hidden = false;
    const left = (x ?? box.left + this.left[place]) + 12;
    const top = (y ?? box.top + this.tops[column].top + this.tops[column].height) + 12;
    this.tip.style.left = Math.max(4, Math.min(left, innerWidth - this.tip.offsetWidth - 8)) + 'px';
    this.tip.style.top = Math.min(top, innerHeight - this.tip.offsetHeight - 8) + 'px';
    this.spoken.textContent = text.join('. ');
  }

  describe(column, place) {
    const {data} = this, entry = this.entries[place];
    const name = `${data.entries.name[entry]} on ${shownColumn(data.columnName[column])}`;
    const found = this.squares.get(column * 65536 + place) || [];
    if (!found.length) return [name, 'not run'];
    const worst = this.worst(found), at = found.find(one => data.kind[one] === worst);
    const lines = [name, `${outcomeText(data, at)}${found.length > 1 && worst === 1
      ? `, ${found.length} of ${found.length} heads` : ''}`];
    if (data.heads[data.cells.head[at]] !== 'base' && worst !== 1)
      lines[1] += `, head ${data.heads[data.cells.head[at]]}`;
    if (worst === 5) lines.push(`not as expected: ${data.verdicts[data.cells.verdict[at]]}`);
    if (worst !== 1 && whyText(data, at)) lines.push(whyText(data, at));
    lines.push(data.families[data.entries.family[entry]]);
    return lines;
  }

  key(event) {
    const moves = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};
    const last = this.entries.length - 1;
    if (event.key === 'Enter' && this.at) { this.open(); return; }
    const {column, place} = this.at || {column: 0, place: -1};
    if (event.key in moves) {
      const [down, right] = moves[event.key];
      this.select(Math.max(0, Math.min(this.rows.length - 1, column + down)),
        Math.max(0, Math.min(last, place + right)));
    } else if (event.key === 'Home' || event.key === 'End') {
      this.select(column, event.key === 'Home' ? 0 : last);
    } else if (event.key === 'n') {
      this.next(column, place);
    } else return;
    event.preventDefault();
  }

  // The next square that is not as expected, along the rows.
  next(column, place) {
    const size = this.entries.length, count = size * this.rows.length;
    for (let step = 1; step <= count; step++) {
      const at = (column * size + place + step + count) % count;
      const found = this.squares.get(Math.floor(at / size) * 65536 + at % size);
      if (found && this.worst(found) >= 4) { this.select(Math.floor(at / size), at % size); return; }
    }
  }

  open() {
    if (!this.at) return;
    this.tip.hidden = true;
    location.hash = entryAddress(this.data.entries.name[this.entries[this.at.place]]);
  }
}
