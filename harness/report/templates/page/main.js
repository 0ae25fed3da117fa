// From the address to what is shown; the first page is in the document already.

const VIEWS = {entry: entryView, backend: backendView, cause: causeView, causes: causesView,
  pictures: picturesView, compare: compareView, runs: runsView};

async function main() {
  const form = byId('filters'), view = byId('view'), first = byId('first'), tables = byId('tables');
  document.documentElement.classList.add('scripted');
  for (const time of document.querySelectorAll('time[data-age]'))
    time.textContent = age(time.dateTime);
  // Green results of last week say nothing of today.
  const newest = document.querySelector('.fresh time');
  if (Date.now() - Date.parse(newest.dateTime) > 7 * 86400e3)
    newest.parentElement.classList.add('alarm');
  let data;
  try {
    data = await decode();
  } catch (error) {
    byId('trouble').hidden = false;
    byId('trouble').append(` (${error.message})`);
    return;
  }
  prepareFilters(data);
  const map = new HeatMap(data, byId('heat'), byId('spoken'),
    [...document.querySelectorAll('#board tbody tr')]);
  const change = filters => { location.replace(address('', filters)); };
  const text = form.querySelector('input[type=search]');
  text.addEventListener('input', () => change({...readAddress().filters, text: text.value}));
  form.addEventListener('submit', event => event.preventDefault());
  form.querySelector('.clear').addEventListener('click', () => { location.hash = '#/'; });
  document.addEventListener('keydown', event => {
    if (event.key === 'Escape') form.querySelectorAll('details[open]').forEach(d => { d.open = false; });
    if (event.key === '/' && !/INPUT|SELECT|TEXTAREA/.test(document.activeElement.tagName)) {
      event.preventDefault();
      text.focus();
    }
  });
  document.addEventListener('click', event => {
    for (const open of form.querySelectorAll('details[open]'))
      if (!open.contains(event.target) && document.contains(event.target)) open.open = false;
  });
  form.hidden = false;

  function show(moved) {
    draw(moved);
    document.documentElement.dataset.shown = location.hash;
  }

  function draw(moved) {
    const at = readAddress(), other = VIEWS[at.view];
    if (!at.view && location.hash && !location.hash.startsWith('#/')) return;
    first.hidden = tables.hidden = Boolean(other);
    view.hidden = !other;
    map.tip.hidden = true;
    for (const anchor of document.querySelectorAll('nav a'))
      anchor.toggleAttribute('aria-current', anchor.getAttribute('href') === `#/${at.view}`);
    if (other) {
      view.replaceChildren(...[other(data, at.name, at)].flat(Infinity).filter(Boolean));
      document.title = `${view.querySelector('h2').textContent} · Model compatibility`;
      if (moved) { scrollTo(0, 0); view.querySelector('h2').focus(); }
      return;
    }
    document.title = 'Model compatibility';
    const {matching, counts} = filtered(data, at.filters);
    drawFilters(data, form, at.filters, counts, change);
    map.show(matching);
    const asked = isFiltered(at.filters);
    byId('count').textContent = asked ? `${plural(matching.length, 'cell')} of ${data.count}` : '';
    byId('matches').replaceChildren(...(asked ? matchesTable(data, matching) : []));
    tables.hidden = asked;
  }
  addEventListener('hashchange', () => show(true));
  show(false);
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

main();
