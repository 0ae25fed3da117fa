// Pictures by Observable Plot: dots, intervals and lines on one style, with a text for each.

// A log axis whose ticks are plain numbers.
const LOG = {type: 'log', grid: true, ticks: 5, tickFormat: value => value >= 1e5 || value < 1e-2
  ? value.toExponential(0) : String(Number(value.toPrecision(3)))};

function figure(title, note, options) {
  const plot = Plot.plot({
    width: 900, marginLeft: 150, marginBottom: 42, style: {background: 'transparent', fontSize: '12px'},
    ...options,
  });
  const svg = plot.tagName === 'svg' ? plot : [...plot.querySelectorAll('svg')].at(-1);
  // The groups' own labels name Plot's marks, which tell a reader nothing.
  for (const group of svg.querySelectorAll('[aria-label]')) group.removeAttribute('aria-label');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `${title}. ${note}`);
  return el('figure', {class: 'picture'}, el('figcaption', {}, el('b', {}, title), ' ', note), plot);
}

const visibleScore = value => Math.min(Math.max(number(value), 1e-3), 1e9);

// Scores on a log axis, one row a column, with the limit drawn.
function scorePicture(data, cells, {label = at => data.columnName[data.cells.column[at]]} = {}) {
  const dots = cells.filter(at => data.cells.score[at] !== null).map(at => ({
    at, row: shownColumn(label(at)), score: visibleScore(data.cells.score[at]),
    state: data.kind[at] === 1 ? 'pass' : data.kind[at] === 5 ? 'not as expected' : 'no pass',
  }));
  if (!dots.length) return null;
  const rows = [...new Set(dots.map(d => d.row))];
  const many = dots.length > 60;
  const mark = many ? Plot.tickX : Plot.dot;
  return figure('Scores', `Error of a cell in noise floors of its reference, on a log axis. A cell `
    + `fails beyond the limit of ${data.limit}. ${plural(dots.length, 'cell')}.`, {
    height: 80 + rows.length * 24, x: {...LOG, label: 'score →'},
    y: {label: null, domain: rows},
    color: {legend: true, domain: ['pass', 'no pass', 'not as expected'],
      range: ['var(--k-pass-ink)', 'var(--k-known)', 'var(--k-bad)']},
    marks: [
      Plot.ruleX([data.limit], {stroke: 'var(--k-bad)', strokeWidth: 2, strokeDasharray: '4 3'}),
      mark(dots, {x: 'score', y: 'row', stroke: 'state', strokeOpacity: many ? 0.45 : 1,
        ...(many ? {} : {r: 5, fill: 'state'}),
        title: d => `${cellLabel(data, d.at)}: ${scoreText(data.cells.score[d.at])}`}),
      many ? Plot.dot(dots, Plot.groupY({x: 'median'}, {x: 'score', y: 'row', r: 4,
        fill: 'var(--ink)', title: () => 'median'})) : null,
    ].filter(Boolean),
  });
}

function trendRows(data, columns) {
  const {totals, runs} = data;
  const most = new Map();
  totals.run.forEach((_, at) => most.set(totals.column[at],
    Math.max(most.get(totals.column[at]) || 0, totals.cells[at])));
  // A run of a few cells says nothing of a trend: half of the largest run is the least.
  return totals.run.map((run, at) => ({
    run, column: totals.column[at], name: shownColumn(data.columnName[totals.column[at]]),
    date: new Date(runs[run].started + 'Z'), passed: totals.passed[at], judged: totals.judged[at],
    share: totals.judged[at] ? 100 * totals.passed[at] / totals.judged[at] : null,
    inference: totals.inference[at], pins: runs[run].pins, cells: totals.cells[at],
  })).filter(row => columns.includes(row.column) && row.cells * 2 >= most.get(row.column));
}

// One small picture a column, on one axis of time; a column with a single run has no trend.
function trendPictures(data, columns) {
  const found = trendRows(data, columns);
  const count = new Map();
  for (const row of found) count.set(row.name, (count.get(row.name) || 0) + 1);
  const rows = found.filter(row => count.get(row.name) > 1);
  if (!rows.length) return [el('p', {class: 'mute'}, 'A trend needs two runs of about as many cells.')];
  const told = row => `${row.name}, ${moment(data.runs[row.run].started)}\n${row.passed} of `
    + `${row.judged} pass, median inference ${duration(row.inference)}`
    + (row.pins.length ? '\n' + row.pins.join('\n') : '');
  const pictured = (title, note, of, y) => {
    const shown = rows.filter(row => of(row) !== null);
    const names = [...new Set(shown.map(row => row.name))];
    const common = {x: 'date', y: of, fy: 'name'};
    return shown.length ? figure(title, note, {height: 50 + names.length * 56,
      x: {type: 'utc', label: null}, fy: {label: null, domain: names, padding: 0.3}, y,
      marginRight: 150, marginLeft: 60, marks: [Plot.frame({stroke: 'var(--line)'}),
        Plot.lineY(shown, {...common, stroke: 'var(--k-pass-ink)', strokeWidth: 2}),
        Plot.dot(shown, {...common, fill: 'var(--k-pass-ink)', r: 3, title: told}),
        Plot.dot(shown.filter(row => row.pins.length), {...common, r: 6, symbol: 'diamond',
          stroke: 'var(--ink)', strokeWidth: 1.5, title: told})]}) : null;
  };
  const note = 'A diamond marks a run whose pins, device or seed changed. Runs of less than half of '
    + 'the cells of the largest are left out.';
  return [
    pictured('Passes over the runs', `Share of the judged cells that passed, in %. ${note}`,
      row => row.share, {label: null, nice: true, ticks: 3}),
    pictured('Median time over the runs',
      `Median inference of the passing cells, in ms, on a log axis. ${note}`,
      row => row.inference ? row.inference * 1e3 : null, {...LOG, label: null, ticks: 3, grid: false}),
  ].filter(Boolean);
}

// Measured and predicted times as dots with intervals; without any, what every run times.
function speedPictures(data, cells, {byEntry = false} = {}) {
  const rows = [];
  for (const at of cells) {
    const one = data.cells.measured[at];
    if (!one || one.median === undefined) continue;
    const column = shownColumn(data.columnName[data.cells.column[at]]);
    const size = data.cells.size[at] === data.tiny ? '' : `, ${data.sizes[data.cells.size[at]]}`;
    const head = data.heads[data.cells.head[at]];
    const row = byEntry ? `${column}${head === 'base' ? '' : ' ' + head}${size}`
      : `${cellLabel(data, at)} on ${column}${size}`;
    rows.push({at, row, what: 'measured', ms: one.median * 1e3, low: (one.p5 ?? one.median) * 1e3,
      high: (one.p95 ?? one.median) * 1e3, memory: one.peak_memory});
    if (one.predicted !== undefined)
      rows.push({at, row, what: 'whole model, predicted', ms: one.predicted * 1e3,
        low: one.predicted_low * 1e3, high: one.predicted_high * 1e3,
        memory: one.predicted_memory});
  }
  const names = [...new Set(rows.map(r => r.row))].slice(0, 40);
  const shown = rows.filter(r => names.includes(r.row));
  if (!shown.length) return [];
  const common = {height: 80 + names.length * 24, marginLeft: 260, y: {label: null, domain: names},
    color: {legend: true, domain: ['measured', 'whole model, predicted'],
      range: ['var(--k-better)', 'var(--k-known)']}};
  const sized = shown.filter(r => r.memory > 0);
  return [
    figure('Speed, measured one cell at a time', 'A dot is the median, a line reaches to the 95th '
      + 'percentile, or over the interval of a prediction.', {...common,
      x: {...LOG, label: 'ms →'}, marks: [
        Plot.ruleY(shown, {x1: 'low', x2: 'high', y: 'row', stroke: 'what', strokeWidth: 2}),
        Plot.dot(shown, {x: 'ms', y: 'row', fill: 'what', r: 5,
          title: r => `${r.row}: ${duration(r.ms / 1e3)} (${r.what})`})]}),
    sized.length ? figure('Memory', 'Growth from before the preparation until after the first '
      + 'inference: of resident memory, or of the device where the backend tells.',
      {...common, x: {...LOG, label: 'MB →'}, marks: [
        Plot.dot(sized, {x: 'memory', y: 'row', fill: 'what', r: 5,
          title: r => `${r.row}: ${megabytes(r.memory)} (${r.what})`})]}) : null,
  ].filter(Boolean);
}

function inferencePicture(data, cells) {
  const dots = cells.filter(at => data.kind[at] === 1 && data.cells.inference[at] > 0).map(at => ({
    at, row: shownColumn(data.columnName[data.cells.column[at]]),
    ms: data.cells.inference[at] * 1e3}));
  if (!dots.length) return null;
  const rows = [...new Set(dots.map(d => d.row))];
  return figure('Time of an inference of the small models', 'A tick is a passing cell, the dot the '
    + 'median. Cells ran beside each other: good for orders of magnitude, no benchmark.', {
    height: 80 + rows.length * 24, x: {...LOG, label: 'ms →'},
    y: {label: null, domain: rows}, marks: [
      Plot.tickX(dots, {x: 'ms', y: 'row', strokeOpacity: 0.35, stroke: 'var(--k-pass-ink)',
        title: d => `${cellLabel(data, d.at)}: ${duration(d.ms / 1e3)}`}),
      Plot.dot(dots, Plot.groupY({x: 'median'}, {x: 'ms', y: 'row', r: 5, fill: 'var(--ink)'}))],
  });
}

function coveragePictures(data) {
  const {cells, entries} = data;
  const passing = data.columns.map(() => new Map());
  for (let at = 0; at < data.count; at++) {
    if (cells.size[at] !== data.tiny || data.kind[at] === 0) continue;
    const map = passing[cells.column[at]], entry = cells.entry[at];
    map.set(entry, (map.get(entry) ?? true) && cells.outcome[at] === data.pass);
  }
  const rows = (values, names) => names.flatMap((name, index) => {
    const all = values.reduce((n, v) => n + (v === index), 0);
    return !all ? [] : data.columns.map((_, column) => {
      let passed = 0, run = 0;
      for (const [entry, ok] of passing[column])
        if (values[entry] === index) { run++; passed += ok; }
      return {name, column: shownColumn(data.columnName[column]), all, passed, run,
        share: 100 * passed / all};
    });
  });
  const grid = (title, found) => figure(title, 'Entries whose every cell passes: the number is how many, '
    + 'the colour the share of all listed entries.', {
    height: 136 + data.columns.length * 22, marginTop: 130, marginBottom: 6, marginRight: 60,
    x: {label: null, axis: 'top', tickRotate: -35, domain: [...new Set(found.map(r => r.name))]},
    y: {label: null, domain: data.columnName.map(shownColumn)},
    color: {legend: false, type: 'linear', domain: [0, 100],
      range: ['var(--heat-low)', 'var(--heat-high)'], interpolate: mixed},
    marks: [
      Plot.cell(found, {x: 'name', y: 'column', fill: 'share', inset: 0.5,
        title: r => `${r.name} on ${r.column}: ${r.passed} of ${r.all} pass, ${r.run} run`}),
      Plot.text(found.filter(r => r.run), {x: 'name', y: 'column', text: 'passed',
        fill: r => r.share > 55 ? 'var(--heat-ink-high)' : 'var(--ink)', fontSize: 10})],
  });
  return [grid('Coverage by family', rows(entries.family, data.families)),
    grid('Coverage by priority', rows(entries.priority, data.priorities)), weightsTable(data)];
}

// Colours between two custom properties, which a theme may change.
function mixed(low, high) {
  return share => `color-mix(in oklab, ${high} ${Math.round(share * 100)}%, ${low})`;
}

function weightsTable(data) {
  return table('Real weights: the policy, and how far it is reached', ['priority', '>entries',
    '>with a checkpoint', '>wanted', '>run with their checkpoint'],
  data.weights.map(([name, ...counts]) => [name, ...counts.map(String)]));
}
