// Elements from names, attributes and children; every text is set as text, never as HTML.

function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? '' : value);
  }
  made.append(...children.flat(Infinity).filter(c => c !== null && c !== undefined && c !== false));
  return made;
}

const link = (address, ...children) => el('a', {href: address}, ...children);

const safeLink = (address, text) =>
  /^https?:\/\//.test(address) ? el('a', {href: address, rel: 'noopener noreferrer'}, text) : text;

// A table; a head that begins with `>` is right-aligned, and so are its cells.
function table(caption, heads, rows, {className = ''} = {}) {
  const right = heads.map(head => head.startsWith('>'));
  const body = rows.map(row => el('tr', {}, row.map((cell, at) =>
    at === 0 ? el('th', {scope: 'row', class: right[at] && 'r'}, cell)
      : el('td', {class: right[at] && 'r'}, cell))));
  return el('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption},
    el('table', {class: `grid ${className}`}, el('caption', {}, caption),
      el('thead', {}, el('tr', {}, heads.map((head, at) =>
        el('th', {scope: 'col', class: right[at] && 'r'}, right[at] ? head.slice(1) : head)))),
      el('tbody', {}, body)));
}

const kindMark = kind => el('i', {class: `k k-${KINDS[kind].name}`, title: KINDS[kind].title});

// A command with a button that copies it.
function command(text) {
  const button = el('button', {type: 'button', class: 'copy'}, 'copy');
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'copied';
    } catch {
      getSelection().selectAllChildren(button.previousSibling);
      button.textContent = 'selected';
    }
    setTimeout(() => { button.textContent = 'copy'; }, 1500);
  });
  return el('span', {class: 'command'}, el('code', {}, text), button);
}
