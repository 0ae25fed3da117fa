// The data of the page: decoded once, with indexes by entry, column and cause.

const byId = id => document.getElementById(id);

async function decode() {
  const packed = Uint8Array.from(atob(byId('data').textContent.trim()), c => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  const data = await new Response(stream).json();
  if (data.layout !== 1) throw new Error(`expected data of layout 1, found ${data.layout}`);
  return indexed(data);
}

function indexed(data) {
  const cells = data.cells, count = cells.entry.length;
  data.count = count;
  data.cellsOfEntry = data.entries.name.map(() => []);
  data.entryByName = new Map(data.entries.name.map((name, at) => [name, at]));
  data.causeById = new Map(data.causes.map((cause, at) => [cause.id, at]));
  data.columnName = data.columns.map(c => columnName(c.backend, c.precision));
  data.columnByName = new Map(data.columnName.map((name, at) => [name, at]));
  data.backends = [...new Set(data.columns.map(c => c.backend))];
  data.green = new Set(['ok', 'xfail'].map(v => data.verdicts.indexOf(v)));
  data.pass = data.outcomes.indexOf('pass');
  data.absent = data.outcomes.indexOf('absent');
  data.tiny = data.sizes.indexOf('tiny');
  data.kind = new Uint8Array(count);
  for (let at = 0; at < count; at++) {
    data.cellsOfEntry[cells.entry[at]].push(at);
    data.kind[at] = kindOf(data, cells.outcome[at], cells.verdict[at]);
  }
  return data;
}

const columnName = (backend, precision) =>
  precision === 'default' ? backend : `${backend}:${precision}`;

const shownColumn = name => name.replace(':', ' ');

// How a cell is drawn, the most urgent last: an entry's square has the kind of its worst head.
const KINDS = [
  {name: 'absent', title: 'not run, or absent from the environment'},
  {name: 'pass', title: 'pass'},
  {name: 'mute', title: 'could not be judged, as expected'},
  {name: 'known', title: 'fails, as expected'},
  {name: 'better', title: 'passes, and was expected to fail'},
  {name: 'bad', title: 'not as expected'},
];
const MUTE = new Set(['too-large', 'unsupported', 'library', 'untested', 'inconclusive']);

function kindOf(data, outcome, verdict) {
  const name = data.outcomes[outcome];
  if (data.verdicts[verdict] === 'improved') return 4;
  if (!data.green.has(verdict) && name !== 'pass') return 5;
  if (name === 'pass') return 1;
  if (name === 'absent') return 0;
  return MUTE.has(name) ? 2 : 3;
}

const cellLabel = (data, at) =>
  data.entries.name[data.cells.entry[at]] +
  (data.heads[data.cells.head[at]] === 'base' ? '' : ':' + data.heads[data.cells.head[at]]);

const outcomeText = (data, at) => {
  const outcome = data.outcomes[data.cells.outcome[at]];
  return outcome === 'pass' || outcome === 'absent' ? outcome
    : `${outcome} at ${data.stages[data.cells.stage[at]]}`;
};

// The sentence that a person wrote about a cell's failure, or the line of its error.
const whyText = (data, at) => {
  const known = data.cells.known[at];
  return known >= 0 && data.known[known].reason ? data.known[known].reason
    : data.texts[data.cells.reason[at]];
};

const number = value => (value === 'inf' ? Infinity : value);

function digits(value) {
  if (value >= 9.95) return value.toFixed(0);
  return value >= 0.995 ? value.toFixed(1) : value.toFixed(2);
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds === 0) return '0 s';
  if (seconds < 1e-3) return `${digits(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${digits(seconds * 1e3)} ms`;
  if (seconds < 59.5) return `${digits(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${String(Math.round(seconds % 60)).padStart(2, '0')} s`;
}

const megabytes = value =>
  value === null || value === undefined ? '–'
    : value < 999.5 ? `${value.toFixed(0)} MB` : `${(value / 1000).toFixed(2)} GB`;

const scoreText = value =>
  value === null ? '–' : value === 'inf' ? '∞'
    : value >= 1e5 ? value.toExponential(0) : digits(value);

const share = (part, whole) =>
  whole ? (part === whole ? '100 %' : `${(Math.floor(part * 1000 / whole) / 10).toFixed(1)} %`)
    : '–';

const plural = (count, one, many) => `${count} ${count === 1 ? one : many || one + 's'}`;

function age(then, now = Date.now()) {
  const seconds = Math.max(0, (now - Date.parse(then + (/Z|[+]/.test(then) ? '' : 'Z'))) / 1000);
  for (const [unit, length] of [['day', 86400], ['h', 3600], ['min', 60]]) {
    const count = Math.floor(seconds / length);
    if (count) return unit === 'day' ? plural(count, 'day') : `${count} ${unit}`;
  }
  return '1 min';
}

const moment = text => text.replace('T', ' ').slice(0, 16);
