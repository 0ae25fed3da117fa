// Filters that combine, with a count beside each choice: of the cells that the others leave.

const facetValue = {
  family: (data, at) => data.entries.family[data.cells.entry[at]],
  priority: (data, at) => data.entries.priority[data.cells.entry[at]],
  outcome: (data, at) => data.cells.outcome[at],
  verdict: (data, at) => data.cells.verdict[at],
  backend: (data, at) => data.backends.indexOf(data.columns[data.cells.column[at]].backend),
  precision: (data, at) => data.precisions.indexOf(data.columns[data.cells.column[at]].precision),
  size: (data, at) => data.cells.size[at],
};

function facetNames(data) {
  return {
    family: data.families, priority: data.priorities, outcome: data.outcomes,
    verdict: data.verdicts, backend: data.backends, precision: data.precisions, size: data.sizes,
  };
}

function prepareFilters(data) {
  data.precisions = [...new Set(data.columns.map(c => c.precision))];
  data.facets = {};
  for (const name of LISTS)
    data.facets[name] = Int16Array.from({length: data.count}, (_, at) => facetValue[name](data, at));
}

function searchText(data, at) {
  if (!data.search) data.search = new Array(data.count);
  if (data.search[at] === undefined) {
    const {cells, entries} = data, entry = cells.entry[at], cause = cells.cause[at];
    data.search[at] = [
      cellLabel(data, at), entries.architecture[entry], entries.checkpoint[entry],
      entries.aliases[entry], data.columnName[cells.column[at]], whyText(data, at),
      data.texts[cells.reason[at]], cause >= 0 ? data.causes[cause].fingerprints.join(' ') : '',
    ].join(' ').toLowerCase();
  }
  return data.search[at];
}

// The cells that match, and the counts by facet and value. Only tiny models, if no size is asked.
function filtered(data, filters) {
  const names = facetNames(data);
  const wanted = {};
  for (const name of LISTS) {
    if (filters[name].size)
      wanted[name] = new Set([...filters[name]].map(value => names[name].indexOf(value)));
  }
  if (!wanted.size) wanted.size = new Set([data.tiny]);
  const words = filters.text.toLowerCase().split(/\s+/).filter(Boolean);
  const counts = Object.fromEntries(LISTS.map(name => [name, new Map()]));
  const matching = [];
  const asked = LISTS.filter(name => wanted[name]);
  for (let at = 0; at < data.count; at++) {
    let missing = '', misses = 0;
    for (const name of asked) {
      if (!wanted[name].has(data.facets[name][at])) { missing = name; if (++misses > 1) break; }
    }
    if (misses > 1) continue;
    if (words.length && !words.every(word => searchText(data, at).includes(word))) continue;
    for (const name of LISTS) {
      if (misses && name !== missing) continue;
      const value = data.facets[name][at], map = counts[name];
      map.set(value, (map.get(value) || 0) + 1);
    }
    if (!misses) matching.push(at);
  }
  return {matching, counts};
}

const isFiltered = filters => Boolean(filters.text) || LISTS.some(name => filters[name].size);

function drawFilters(data, form, filters, counts, change) {
  const names = facetNames(data);
  const open = new Set([...form.querySelectorAll('details[open]')].map(d => d.dataset.name));
  const boxes = LISTS.map(name => {
    const values = names[name].map((value, at) => ({value, count: counts[name].get(at) || 0}))
      .filter(one => one.value && (one.count || filters[name].has(one.value)));
    if (name === 'size' && data.sizes.length < 2) return null;
    const chosen = filters[name].size;
    const choices = values.map(({value, count}) => el('label', {},
      el('input', {type: 'checkbox', value, checked: filters[name].has(value), onchange: event => {
        const set = new Set(filters[name]);
        if (event.target.checked) set.add(value); else set.delete(value);
        change({...filters, [name]: set});
      }}), ' ', value, ' ', el('span', {class: 'count'}, String(count))));
    return el('details', {class: 'facet', 'data-name': name, open: open.has(name)},
      el('summary', {}, name, chosen ? el('b', {}, ` ${[...filters[name]].join(', ')}`) : ''),
      el('div', {class: 'choices', role: 'group', 'aria-label': name}, choices));
  });
  const holder = form.querySelector('.facets');
  const focused = document.activeElement && holder.contains(document.activeElement)
    ? [document.activeElement.closest('details').dataset.name, document.activeElement.value] : null;
  holder.replaceChildren(...boxes.filter(Boolean));
  if (focused) {
    const again = [...holder.querySelectorAll('input')].find(input =>
      input.value === focused[1] && input.closest('details').dataset.name === focused[0]);
    if (again) again.focus();
  }
  form.querySelector('.clear').hidden = !isFiltered(filters);
  const text = form.querySelector('input[type=search]');
  if (document.activeElement !== text) text.value = filters.text;
}
