const BASE85 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~';  // RFC 1924: five characters are four bytes
const unpacked = async id => {
  const text = document.getElementById(id).textContent.trim(), bytes = new DataView(new ArrayBuffer(4 * Math.ceil(text.length / 5)));
  for (let at = 0; at < text.length; at += 5) {
    bytes.setUint32(at / 5 * 4, [...text.slice(at, at + 5).padEnd(5, '~')].reduce((number, one) => 85 * number + BASE85.indexOf(one), 0));
  }
  const deflated = new Blob([bytes.buffer.slice(0, Math.floor(text.length * 4 / 5))]);
  return new Response(deflated.stream().pipeThrough(new DecompressionStream('deflate'))).text();
};
const rowsOf = columns => {
  const names = Object.keys(columns), size = names.length ? (columns[names[0]].codes ?? columns[names[0]]).length : 0;
  const read = names.map(name => columns[name].codes ? at => columns[name].words[columns[name].codes[at]] ?? null : at => columns[name][at]);
  return Array.from({length: size}, (_, at) => Object.fromEntries(names.map((name, place) => [name, read[place](at)])));
};
const state = {condition: START.headline, other: '', chosen: []};  // chosen: activations to show; all if empty
const views = new Map();  // figure -> views of its panes
let turn = Promise.resolve();  // one drawing of the page after the other
let DATA = {}, SPECS = {}, SLOTS = {};

function spec(name, condition, other) {
  const made = structuredClone(SPECS[name].spec);
  made.datasets = Object.fromEntries(SPECS[name].rows.map(table => [table, DATA[table]]));
  const values = {condition, other, chosen: state.chosen};
  for (const param of made.params) if (param.name in values) param.value = values[param.name];
  return made;
}
function pane(condition, two) {
  const made = document.createElement('div');
  made.className = 'pane';
  if (two) made.append(Object.assign(document.createElement('b'), {textContent: condition}));
  return made;
}
async function draw(figure) {
  const name = figure.dataset.figure, controls = figure.querySelector('.controls'), panes = figure.querySelector('.panes');
  const before = views.get(name) ?? [], kept = before.length ? choices(before[0]) : {};
  const shown = conditions(figure), holders = shown.map(condition => pane(condition, shown.length > 1));
  const places = holders.map(holder => holder.appendChild(Object.assign(document.createElement('div'), {className: 'view'})));
  panes.style.minHeight = panes.offsetHeight + 'px';
  before.forEach(one => one.finalize());
  panes.replaceChildren(...holders);
  panes.classList.toggle('two', shown.length > 1);
  controls.replaceChildren();
  const made = [];
  for (const [at, condition] of shown.entries()) {
    const drawn = spec(name, condition, shown.length > 1 ? shown[1 - at] : '');
    for (const param of drawn.params) { if (param.name in kept) param.value = kept[param.name]; if (at) delete param.bind; }
    const {view} = await vegaEmbed(places[at], drawn, {
      actions: false, renderer: 'svg', logLevel: 1, bind: at ? document.createElement('div') : controls, tooltip: {theme: 'custom'},
    });
    view.addEventListener('click', (_, item) => item?.datum?.activation && toggle(item.datum.activation));
    made.push(view);
  }
  for (const key of Object.keys(choices(made[0]))) made[0].addSignalListener(key, (_, value) => made.slice(1).forEach(one => one.signal(key, value).run()));
  views.set(name, made);
  panes.style.minHeight = '';
}
const choices = view => Object.fromEntries(['layer', 'measure', 'when', 'axis_scale', 'show', 'split', 'state', 'source', 'curve', 'part'].flatMap(
  name => { try { return [[name, view.signal(name)]]; } catch { return []; } }));
const conditions = figure => figure.dataset.study ? [state.condition] : state.other ? [state.condition, state.other] : [state.condition];

const toggle = name => show(state.chosen.includes(name) ? state.chosen.filter(one => one !== name) : [...state.chosen, name]);
function show(names) {
  state.chosen = names;
  for (const made of views.values()) for (const view of made) view.signal('chosen', names).run();
  for (const chip of document.querySelectorAll('.chips button')) chip.setAttribute('aria-pressed', chip.value ? names.includes(chip.value) : !names.length);
}
const folded = figure => figure.closest('details:not([open])');  // a figure without a width: it is drawn once it is seen
async function drawAll(part) { for (const figure of part.querySelectorAll('[data-figure]')) if (!folded(figure)) await draw(figure); }
async function choose() {
  document.querySelector('.first').classList.toggle('compared', !!state.other);
  for (const slot of document.querySelectorAll('[data-slot]')) {
    const shown = state.other ? [state.condition, state.other] : [state.condition];
    slot.classList.toggle('panes', shown.length > 1);
    slot.classList.toggle('two', shown.length > 1);
    slot.replaceChildren(...shown.map(condition => {
      const made = pane(condition, shown.length > 1);
      made.insertAdjacentHTML('beforeend', SLOTS[slot.dataset.slot][condition]);
      return made;
    }));
  }
  document.querySelectorAll('table.sortable').forEach(sortable);
  await drawAll(document);
  document.documentElement.dataset.ready = `${state.condition} ${state.other}`;
}

// The results: sorted by a column, filtered, copied.
function sortable(table) {
  const bar = table.closest('.results').querySelector('.bar'), body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const value = (row, at) => { const text = row.cells[at].dataset.value ?? row.cells[at].textContent.trim(); return text === '' ? null : isNaN(text) ? text : +text; };
  bar.hidden = false;
  heads.forEach((head, at) => head.querySelector('button')?.addEventListener('click', () => {
    const up = head.ariaSort !== 'ascending';
    heads.forEach(one => one.removeAttribute('aria-sort'));
    head.ariaSort = up ? 'ascending' : 'descending';
    const order = (a, b) => a === null ? 1 : b === null ? -1 : (a < b ? -1 : a > b ? 1 : 0) * (up ? 1 : -1);
    body.append(...[...body.rows].sort((a, b) => order(value(a, at), value(b, at))));
  }));
  bar.querySelector('input').addEventListener('input', event => {
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(event.target.value.toLowerCase());
  });
  bar.querySelectorAll('button').forEach(button => button.addEventListener('click', async () => {
    const lines = [table.tHead.rows[0], ...[...body.rows].filter(row => !row.hidden)].map(row => [...row.cells].map(cell => cell.innerText.replace(/\s+/g, ' ').trim()));
    await copy(FORMS[button.value](lines));
    bar.querySelector('[role=status]').textContent = `${button.textContent}: ${lines.length - 1} rows copied`;
  }));
}
const FORMS = {
  csv: lines => lines.map(line => line.map(cell => /[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell).join(',')).join('\n'),
  markdown: ([head, ...rows]) => [head, head.map(() => '---'), ...rows].map(line => `| ${line.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |`).join('\n'),
  latex: lines => `\\begin{tabular}{l${'r'.repeat(lines[0].length - 1)}}\n${lines.map(line => line.map(cell => cell.replace(/[%_&\x23$]/g, '\\$&').replace('±', '$\\pm$').replace('×', '$\\times$')).join(' & ') + ' \\\\').join('\n')}\n\\end{tabular}`,
};
async function copy(text) {
  document.documentElement.dataset.copied = text;
  try { await navigator.clipboard.writeText(text); } catch {
    const area = document.body.appendChild(Object.assign(document.createElement('textarea'), {value: text}));
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

(async () => {
  const [library, data] = await Promise.all([unpacked('library'), unpacked('data')]);
  document.head.append(Object.assign(document.createElement('script'), {textContent: library}));
  const all = JSON.parse(data);
  DATA = Object.fromEntries(Object.entries(all.tables).map(([name, columns]) => [name, rowsOf(columns)]));
  SPECS = all.specs;
  SLOTS = all.slots;
  for (const slot of document.querySelectorAll('[data-slot]')) SLOTS[slot.dataset.slot][START.headline] = slot.innerHTML;
  const given = new URLSearchParams(location.search);
  const chips = [...document.querySelectorAll('.chips button')];
  const asked = given.get('activation')?.split(',') ?? [];
  const [condition, other] = ['condition', 'other'].map(name => document.getElementById(name));
  const read = () => {
    if (!condition.value) condition.value = START.headline;  // the address names a condition that there is not
    Object.assign(state, {condition: condition.value, other: other.value === condition.value ? '' : other.value});
    other.value = state.other;
  };
  condition.value = given.get('condition') ?? START.headline;
  other.value = given.get('other') ?? '';
  read();
  [condition, other].forEach(one => one.addEventListener('change', () => { read(); turn = turn.then(choose); }));
  chips.forEach(chip => chip.addEventListener('click', () => chip.value ? toggle(chip.value) : show([])));
  show(chips.map(chip => chip.value).filter(name => name && asked.includes(name)));
  document.querySelectorAll('.tools, .hint').forEach(one => { one.hidden = false; });
  document.querySelectorAll('details').forEach(one => one.addEventListener('toggle', () => { turn = turn.then(() => drawAll(one)); }));
  await (turn = turn.then(choose));
})();
