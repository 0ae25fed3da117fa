// The address of what is shown: `#/entry/bert?family=vision&outcome=fail,crash&text=mask`.

const LISTS = ['family', 'priority', 'outcome', 'verdict', 'backend', 'precision', 'size'];

function readAddress() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').filter(Boolean).map(unescaped);
  const given = new URLSearchParams(query);
  const filters = {text: given.get('text') || ''};
  for (const name of LISTS)
    filters[name] = new Set((given.get(name) || '').split(',').filter(Boolean));
  return {view: parts[0] || '', name: parts.slice(1).join('/'), given, filters};
}

function unescaped(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

function address(path, filters, more = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(more)) if (value) query.set(name, value);
  if (filters) {
    for (const name of LISTS)
      if (filters[name] && filters[name].size) query.set(name, [...filters[name]].join(','));
    if (filters.text) query.set('text', filters.text);
  }
  const text = query.toString().replaceAll('%2C', ',').replaceAll('%3A', ':');
  return '#/' + path + (text ? '?' + text : '');
}

const entryAddress = name => address('entry/' + encodeURIComponent(name));
const causeAddress = id => address('cause/' + id);
const backendAddress = name => address('backend/' + encodeURIComponent(name));
const filterAddress = filters => address('', {...filters});
