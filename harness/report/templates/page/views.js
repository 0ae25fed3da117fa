// The pages behind the first one, each for an address.

const known = (data, at) => data.cells.known[at] >= 0 ? data.known[data.cells.known[at]] : null;

const where = (data, column) =>
  link(backendAddress(data.columns[column].backend), shownColumn(data.columnName[column]),
    data.columns[column].emulated ? el('span', {class: 'emu'}, 'emulated') : null);

const whyNodes = (data, at) => {
  const text = whyText(data, at), cause = data.cells.cause[at], row = known(data, at);
  return [cause >= 0 ? link(causeAddress(data.causes[cause].id), text) : text,
    row && row.issue ? [' ', safeLink(row.issue, 'reported upstream')] : null,
    (data.cells.further[at] || []).map(index => [el('br'), `and ${data.texts[index]}`])];
};

const heading = (title, ...lines) =>
  el('div', {class: 'heading'}, el('h2', {tabindex: -1}, title), lines);

function notFound(what, name) {
  return [heading(`There is no ${what} ${name} in these results`,
    el('p', {}, link('#/', 'Back to the overview')))];
}

// Backends of an entry, the best first: all of its heads pass, a real device, then the fastest.
function ranking(data, entry) {
  const found = new Map();
  for (const at of data.cellsOfEntry[entry]) {
    const {cells} = data;
    if (cells.size[at] !== data.tiny || cells.outcome[at] === data.absent) continue;
    const column = cells.column[at];
    if (!found.has(column)) found.set(column, {column, passed: 0, judged: 0, times: []});
    const one = found.get(column);
    one.judged++;
    if (cells.outcome[at] === data.pass) {
      one.passed++;
      if (cells.inference[at] !== null) one.times.push(cells.inference[at]);
    }
  }
  for (const one of found.values()) one.time = one.times.sort((a, b) => a - b)[one.times.length >> 1];
  return [...found.values()].sort((a, b) =>
    (b.passed === b.judged) - (a.passed === a.judged) || b.passed / b.judged - a.passed / a.judged
    || data.columns[a.column].emulated - data.columns[b.column].emulated
    || (a.time ?? 1e9) - (b.time ?? 1e9));
}

function entryView(data, name) {
  const [entryName] = name.split(':');
  const entry = data.entryByName.get(entryName);
  if (entry === undefined) return notFound('entry', entryName);
  const {cells, entries} = data, own = data.cellsOfEntry[entry];
  const ranked = ranking(data, entry), best = ranked.find(one =>
    one.passed === one.judged && !data.columns[one.column].emulated);
  const facts = [data.families[entries.family[entry]],
    entries.priority[entry] >= 0 && `${data.priorities[entries.priority[entry]]} priority`,
    entries.architecture[entry] !== entryName && `architecture ${entries.architecture[entry]}`,
    entries.task[entry]].filter(Boolean).join(' · ');
  const failing = own.filter(at => ![data.pass, data.absent].includes(cells.outcome[at]));
  const sized = data.sizes.length > 1;
  const since = at => sinceOf(data, cells.column[at], entry, cells.head[at]);
  return [
    heading(entryName,
      el('p', {class: 'lede'}, facts, entries.checkpoint[entry] ? [' · ',
        safeLink(`https://huggingface.co/${entries.checkpoint[entry]}`, entries.checkpoint[entry])]
        : null),
      entries.notes[entry] ? el('p', {class: 'mute'}, entries.notes[entry]) : null,
      el('p', {class: 'best'}, best ? ['Best backend here: ', el('b', {}, where(data, best.column)),
        `: all ${plural(best.judged, 'cell')} pass`, best.time ? `, ${duration(best.time)} an inference`
          : '', '. ', ranked.filter(o => o !== best && o.passed === o.judged).length
          ? `${plural(ranked.filter(o => o !== best && o.passed === o.judged).length,
            'other column passes', 'other columns pass')} too.` : 'No other passes.']
        : ranked.length ? 'No backend on real hardware passes all of its cells.'
          : 'No backend has run it.')),
    table('Backends, the best first', ['backend', '>passed', '>of cells', '>inference', 'newest run'],
      ranked.map(one => [where(data, one.column), String(one.passed), String(one.judged),
        duration(one.time ?? null), data.columns[one.column].newest
          ? age(data.runs[data.columns[one.column].newest].started) + ' ago' : '–'])),
    ranked.some(one => data.columns[one.column].emulated) ? el('p', {class: 'small mute'},
      'First those whose cells all pass, then those with the larger share; of equals, a real device '
        + 'before an emulated one, whose times say nothing of hardware, and then the faster one.') : null,
    scorePicture(data, own, {label: at => data.columnName[cells.column[at]]}),
    ...speedPictures(data, own, {byEntry: true}),
    table('All cells', ['cell', 'backend', sized ? 'size' : null, 'outcome', 'verdict', '>score',
      '>load', '>inference', '>memory', 'since', 'why'].filter(Boolean),
    own.map(at => [
      [kindMark(data.kind[at]), ' ', cellLabel(data, at)], where(data, cells.column[at]),
      ...(sized ? [data.sizes[cells.size[at]]] : []), outcomeText(data, at),
      data.verdicts[cells.verdict[at]], scoreText(cells.score[at]), duration(cells.load[at]),
      duration(cells.inference[at]), megabytes(cells.memory[at]), since(at),
      [whyNodes(data, at), data.cells.culprits[at]
        ? [el('br'), el('small', {}, `culprit: ${data.cells.culprits[at]}`)] : null]])),
    failing.length ? el('section', {}, el('h3', {}, 'Go on from here'),
      el('p', {class: 'small'}, 'The first module or operator that is wrong, and a script that shows '
        + 'it without this project:'),
      el('ul', {class: 'plain'}, [...new Set(failing.map(at => cells.column[at]))].map(column => {
        const {backend, precision} = data.columns[column];
        const more = precision === 'default' ? '' : ` --precision ${precision}`;
        return [el('li', {}, command(`python -m harness localise ${entryName} --backend ${backend}${more}`)),
          el('li', {}, command(`python -m harness repro ${entryName} --backend ${backend}${more}`))];
      }))) : null,
  ];
}

// When a cell took its present state: the date of its last change.
function sinceOf(data, column, entry, head) {
  if (!data.lastChange) {
    data.lastChange = new Map();
    const {history} = data;
    history.entry.forEach((_, at) => data.lastChange.set(
      `${history.column[at]} ${history.entry[at]} ${history.head[at]}`, history.run[at]));
  }
  const run = data.lastChange.get(`${column} ${entry} ${head}`);
  return run === undefined || !data.runs[run] ? '–' : moment(data.runs[run].started).slice(0, 10);
}

function backendView(data, name) {
  const [backend] = name.split(':');
  const columns = data.columns.map((c, at) => at).filter(at => data.columns[at].backend === backend);
  if (!columns.length) return notFound('backend', name);
  const {cells, entries} = data;
  const own = [];
  for (let at = 0; at < data.count; at++)
    if (columns.includes(cells.column[at]) && cells.size[at] === data.tiny) own.push(at);
  const newest = data.runs[Math.max(...columns.map(at => data.columns[at].newest || 0))];
  const families = data.families.map((family, index) => ({family, counts: columns.map(column => {
    const mine = own.filter(at => cells.column[at] === column
      && entries.family[cells.entry[at]] === index && cells.outcome[at] !== data.absent);
    return [mine.filter(at => cells.outcome[at] === data.pass).length, mine.length];
  })})).filter(one => one.counts.some(([, judged]) => judged));
  const blocking = data.causes.map((cause, at) => ({cause, at, entries: new Set(cause.places
    .filter(place => place.backend === backend).flatMap(place => place.entries)).size}))
    .filter(one => one.entries).sort((a, b) => b.entries - a.entries);
  const operators = columns.flatMap(column => (data.operators[column] || []).slice(0, 12)
    .map(([operator, alone, shared]) => [operator, shownColumn(data.columnName[column]),
      String(alone), String(shared)]));
  return [
    heading(backend, el('p', {class: 'lede'}, data.columns[columns[0]].device,
      data.columns[columns[0]].emulated ? el('span', {class: 'emu'}, 'emulated') : null,
      newest ? ` · newest run ${age(newest.started)} ago` : '')),
    table('Families: passed of judged cells', ['family', ...columns.map(at =>
      '>' + data.columns[at].precision)], families.map(({family, counts}) => [
      link(address('', {family: new Set([family]), backend: new Set([backend])}), family),
      ...counts.map(([passed, judged]) => judged ? `${passed} / ${judged}` : '–')])),
    blocking.length ? table('What keeps entries from passing', ['>entries', 'why'],
      blocking.slice(0, 25).map(({cause, entries: count}) => [String(count),
        link(causeAddress(cause.id), cause.title)])) : null,
    operators.length ? table('Operators: how many entries each keeps from passing',
      ['operator', 'column', '>alone', '>with others'], operators) : null,
    scorePicture(data, own), ...trendPictures(data, columns), inferencePicture(data, own),
    ...speedPictures(data, own),
    newest ? table('Pins of the newest run', ['package', 'version'],
      Object.entries(newest.versions)) : null,
    historyTable(data, columns),
  ];
}

function historyTable(data, columns) {
  const {totals} = data;
  const rows = totals.run.map((run, at) => ({run, at})).filter(({at}) =>
    columns.includes(totals.column[at])).sort((a, b) => b.run - a.run).slice(0, 60);
  return table('Runs, the newest first', ['started, UTC', 'column', '>passed', '>of judged',
    '>not as expected', '>median inference', 'changed with it', 'compare'], rows.map(({run, at}) => {
    const earlier = rows.find(other => other.run < run
      && totals.column[other.at] === totals.column[at]);
    return [moment(data.runs[run].started), shownColumn(data.columnName[totals.column[at]]),
      String(totals.passed[at]), String(totals.judged[at]), String(totals.unexpected[at]),
      duration(totals.inference[at]), data.runs[run].pins.join(', '),
      earlier ? link(address('compare', null, {a: `run:${data.runs[earlier.run].id}`,
        b: `run:${data.runs[run].id}`}), 'with the run before') : ''];
  }));
}

function causeView(data, id) {
  const index = data.causeById.get(id);
  if (index === undefined) return notFound('cause', id);
  const cause = data.causes[index];
  const first = new Map();
  data.history.cause.forEach((found, at) => {
    if (found !== index) return;
    const entry = data.history.entry[at], run = data.history.run[at];
    if (!first.has(entry) || run < first.get(entry)) first.set(entry, run);
  });
  const oldest = Math.min(...first.values());
  const runs = data.runs;
  return [
    heading(cause.title, el('p', {class: 'lede'},
      `Keeps ${plural(cause.entries, 'entry', 'entries')} from passing`,
      Number.isFinite(oldest) && runs[oldest] ? `, since ${moment(runs[oldest].started).slice(0, 10)} or longer` : '',
      cause.owner ? ` · to be mended by: ${cause.owner}` : '',
      cause.issue ? [' · ', safeLink(cause.issue, 'reported upstream')] : null)),
    cause.written ? el('p', {}, 'The error says: ', el('code', {}, cause.telling)) : null,
    cause.places.map(place => el('section', {}, el('h3', {},
      link(backendAddress(place.backend), place.backend), `: ${place.outcome} at ${place.stage}, `
      + plural(place.entries.length, 'entry', 'entries'), place.unexpected
        ? el('b', {class: 'alarm'}, ` ${place.unexpected} not as expected`) : null),
    el('p', {class: 'names'}, place.entries.map(entry => [link(entryAddress(data.entries.name[entry]),
      data.entries.name[entry]), ' ', el('small', {}, first.has(entry) && runs[first.get(entry)]
      ? `since ${moment(runs[first.get(entry)].started).slice(0, 10)}` : ''), ' '])),
    place.tail ? el('details', {open: true}, el('summary', {}, `The end of the error of ${place.example}`),
      el('pre', {tabindex: 0, 'aria-label': `the end of the error of ${place.example}`}, place.tail))
      : null)),
    el('details', {}, el('summary', {}, plural(cause.fingerprints.length, 'fingerprint')),
      el('ul', {class: 'plain'}, cause.fingerprints.map(name => el('li', {}, el('code', {}, name))))),
  ];
}

const causesView = data => [heading('What keeps entries from passing', el('p', {class: 'lede'},
  'Ranked by how many entries each cause blocks, over all backends.')),
table('Causes', ['>entries', 'why', 'where'], data.causes.map(cause => [String(cause.entries),
  [link(causeAddress(cause.id), cause.title), cause.written
    ? [el('br'), el('small', {}, cause.telling)] : null],
  [...new Set(cause.places.map(place => place.backend))].join(', ')]))];

function picturesView(data) {
  const tiny = Array.from({length: data.count}, (_, at) => at)
    .filter(at => data.cells.size[at] === data.tiny);
  const all = Array.from({length: data.count}, (_, at) => at);
  return [heading('Pictures'), ...trendPictures(data, data.columns.map((_, at) => at)),
    scorePicture(data, tiny), inferencePicture(data, tiny), ...speedPictures(data, all),
    ...coveragePictures(data)];
}

const runsView = data => [heading('Runs'), historyTable(data, data.columns.map((_, at) => at))];

// The states of one side of a comparison, by cell: of a column, or as a run left its backend.
function side(data, text) {
  const states = new Map();
  if (text.startsWith('run:')) {
    const found = Object.entries(data.runs).find(([, run]) => run.id === text.slice(4));
    if (!found) return null;
    const [numberText, run] = found, last = Number(numberText), {history} = data;
    history.run.forEach((at, index) => {
      const column = data.columns[history.column[index]];
      if (at > last || column.backend !== run.backend) return;
      states.set(`${column.precision} ${history.entry[index]} ${history.head[index]}`, {
        outcome: history.outcome[index], verdict: history.verdict[index],
        cause: history.cause[index], entry: history.entry[index], head: history.head[index]});
    });
    return {title: `${run.backend}, run of ${moment(run.started)}`, states, isRun: true};
  }
  const column = data.columnByName.get(text);
  if (column === undefined) return null;
  const {cells} = data;
  for (let at = 0; at < data.count; at++) {
    if (cells.column[at] !== column || cells.size[at] !== data.tiny) continue;
    states.set(`${cells.entry[at]} ${cells.head[at]}`, {outcome: cells.outcome[at],
      verdict: cells.verdict[at], cause: cells.cause[at], entry: cells.entry[at],
      head: cells.head[at], at});
  }
  return {title: shownColumn(text), states, isRun: false};
}

function compareView(data, name, {given}) {
  const options = data.columnName.map(text => [text, shownColumn(text)]);
  for (const [number, run] of Object.entries(data.runs).reverse())
    options.push([`run:${run.id}`, `${run.backend}, run of ${moment(run.started)}`]);
  const chosen = {a: given.get('a') || options[0][0], b: given.get('b') || options[Math.min(1,
    options.length - 1)][0]};
  const select = key => el('label', {}, key === 'a' ? 'Compare ' : ' with ', el('select', {
    onchange: event => {
      location.hash = address('compare', null, {...chosen, [key]: event.target.value});
    }}, options.map(([value, text]) => el('option', {value, selected: value === chosen[key]}, text))));
  const picker = el('p', {class: 'picker'}, select('a'), select('b'));
  const [a, b] = [side(data, chosen.a), side(data, chosen.b)];
  if (!a || !b) return [heading('Comparison', picker), ...notFound('column or run',
    a ? chosen.b : chosen.a)];
  if (a.isRun !== b.isRun) return [heading('Comparison', picker, el('p', {},
    'A run can be compared with a run, and a column with a column.'))];
  const groups = {fails: [], passes: [], otherwise: []};
  let both = 0, same = 0;
  for (const [key, one] of a.states) {
    const other = b.states.get(key);
    if (!other || one.outcome === data.absent || other.outcome === data.absent) continue;
    both++;
    const before = one.outcome === data.pass, after = other.outcome === data.pass;
    if (before && !after) groups.fails.push([key, one, other]);
    else if (!before && after) groups.passes.push([key, one, other]);
    else if (!before && (one.cause !== other.cause || one.outcome !== other.outcome))
      groups.otherwise.push([key, one, other]);
    else same++;
  }
  const rows = found => found.map(([key, one, other]) => {
    const failing = other.outcome === data.pass ? one : other;
    const precision = a.isRun ? key.split(' ')[0] : '';
    const label = data.entries.name[one.entry] + (data.heads[one.head] === 'base' ? ''
      : ':' + data.heads[one.head]) + (precision && precision !== 'default' ? ` ${precision}` : '');
    return [link(entryAddress(data.entries.name[one.entry]), label), data.outcomes[one.outcome],
      data.outcomes[other.outcome], failing.cause >= 0 ? link(causeAddress(
        data.causes[failing.cause].id), data.causes[failing.cause].title) : ''];
  });
  const section = (title, found) => found.length
    ? table(`${title}: ${found.length}`, ['cell', a.title, b.title, 'why'], rows(found)) : null;
  return [heading('Comparison', picker, el('p', {class: 'lede'},
    `${plural(both, 'cell')} on both sides, ${same} of them alike: ${groups.fails.length} pass in `
    + `the first only, ${groups.passes.length} in the second only.`)),
  section(`Pass in ${a.title}, not in ${b.title}`, groups.fails),
  section(`Pass in ${b.title}, not in ${a.title}`, groups.passes),
  section('Pass in neither, for different reasons', groups.otherwise)];
}

// The cells that the filters leave, below the heat map.
function matchesTable(data, matching) {
  const most = 300, {cells} = data;
  const shown = [...matching].sort((a, b) => data.kind[b] - data.kind[a] || a - b).slice(0, most);
  return [table(matching.length > most ? `The first ${most} of ${matching.length} cells`
    : plural(matching.length, 'cell'), ['cell', 'backend', 'outcome', 'verdict', '>score',
    '>inference', 'why'], shown.map(at => [
    [kindMark(data.kind[at]), ' ', link(entryAddress(data.entries.name[cells.entry[at]]),
      cellLabel(data, at))], where(data, cells.column[at]), outcomeText(data, at),
    data.verdicts[cells.verdict[at]], scoreText(cells.score[at]), duration(cells.inference[at]),
    whyNodes(data, at)]))];
}
