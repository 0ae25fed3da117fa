(() => {
  const table = document.getElementById('t'), form = document.getElementById('filter');
  const q = document.getElementById('q'), s = document.getElementById('s');
  const groups = [...table.tBodies].map(body => ({
    body,
    rows: [...body.rows].filter(r => !r.matches('.f,.d')).map(row => {
      const more = row.nextElementSibling;
      return {row, more: more && more.matches('.d') ? more : null, text: null};
    }),
  }));
  const count = groups.reduce((n, g) => n + g.rows.length, 0);
  function apply() {
    const words = q.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const g of groups) {
      let any = 0;
      for (const r of g.rows) {
        if (words.length && r.text === null)
          r.text = (g.body.rows[0].cells[0].textContent + ' ' + r.row.textContent + ' ' +
            (r.more ? r.more.textContent : '')).toLowerCase();
        const ok = words.every(w => r.text.includes(w)) && (!s.value || r.row.querySelector(s.value));
        r.row.hidden = !ok;
        if (r.more) r.more.hidden = !ok;
        any += ok ? 1 : 0;
      }
      g.body.hidden = !any;
      shown += any;
    }
    document.getElementById('m').textContent = shown === count ? '' : shown + ' of ' + count + ' rows';
    document.getElementById('none').hidden = shown > 0;
  }
  function reveal() {
    const at = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!at) return;
    if (at.closest('#t')) {
      if (at.hidden || at.parentNode.hidden) { q.value = ''; s.value = ''; apply(); }
      const d = at.querySelector('details');
      if (d) d.open = true;
    }
    for (let d = at.closest('details'); d; d = d.parentNode.closest('details')) d.open = true;
    at.scrollIntoView();
  }
  let wait;
  q.addEventListener('input', () => { clearTimeout(wait); wait = setTimeout(apply, 80); });
  s.addEventListener('change', apply);
  form.addEventListener('submit', e => e.preventDefault());
  table.addEventListener('click', e => {
    const td = e.target.closest('td'), row = td && td.parentNode;
    if (!row || row.matches('.d,.f') || row.closest('.d') || getSelection().toString()) return;
    const d = row.querySelector('details');
    if (d) d.open = !d.open;
  });
  addEventListener('hashchange', reveal);
  form.hidden = false;
  if (q.value || s.value) apply();
  reveal();
})();
