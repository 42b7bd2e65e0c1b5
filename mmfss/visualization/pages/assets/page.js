// Episodes and the explainers that are compared on them.

// One colour and dash per explainer, the same everywhere.

const names = Object.keys(summary.scores || summary.seconds || {});
const palette = ['#d55e00', '#2f86c8', '#0d9a75', '#c9679b', '#dd9a00', '#7d6bd0', '#4fb0de', '#94951a', '#dc4472', '#888c92'];
const colourOf = name => palette[Math.max(0, names.indexOf(name)) % palette.length];
const dashOf = name => ['', '6 3', '2 3'][Math.floor(Math.max(0, names.indexOf(name)) / palette.length) % 3];

// Images that are explained are their own supports.
const ofImages = summary.items === 'images';
const itemWord = ofImages ? 'image' : 'episode';
const pictureWord = ofImages ? 'image' : 'support';

// The comparison of explainers

function about() {
  const parts = [];
  const run = summary.episodes || {};
  if (known(run.num_ways)) parts.push(`${run.num_ways}-way ${run.num_shots}-shot`);
  if (run.dataset_name) parts.push(run.dataset_name + (known(run.fold) ? `, fold ${run.fold}` : ''));
  if (known(summary.num_episodes)) parts.push(`${summary.num_episodes} episodes`);
  if (known(summary.num_images)) parts.push(`${summary.num_images} images`);
  if (known(summary.mean_iou)) parts.push(`mean IoU ${ofImages ? '' : 'of an episode '}${percent(summary.mean_iou)}`);
  if (summary.region) parts.push(`explained region: ${summary.region.replace('_', ' ')}`);
  if (summary.config) parts.push(String(summary.config).split('/').pop());
  $('about').textContent = parts.join(' · ');
}

const metrics = Object.keys(summary.metrics || {});
const higher = metric => (summary.metrics[metric] || {}).higher_is_better;
const score = (name, metric) => ((summary.scores || {})[name] || {})[metric] || {};
// The run's scores are in per cent where the metric is; an episode's are fractions.
const inPercent = metric => Boolean(((summary.metrics || {})[metric] || {}).percent);
const figure = (metric, value) => known(value) ? inPercent(metric) ? value.toFixed(1) : Number(value.toPrecision(3)).toString() : '–';
const episodeFigure = (metric, value) => figure(metric, known(value) && inPercent(metric) ? 100 * value : value);
const unit = metric => inPercent(metric) ? ' in %' : '';
const arrow = metric => higher(metric) == null ? '' : higher(metric) ? ' (higher is better)' : ' (lower is better)';

function bestOf(metric) {
  const values = names.map(name => score(name, metric).value).filter(known);
  if (values.length < 2 || higher(metric) == null) return null;
  return higher(metric) ? Math.max(...values) : Math.min(...values);
}

function table(sortKey = null, descending = false) {
  const timed = Object.keys(summary.seconds || {}).length > 0;
  const keys = [null, ...metrics, ...(timed ? ['seconds'] : [])];
  const valueOf = (name, key) => key === 'seconds' ? summary.seconds[name] : score(name, key).value;
  const order = [...names];
  if (sortKey !== null) {
    const rank = name => known(valueOf(name, sortKey)) ? valueOf(name, sortKey) * (descending ? -1 : 1) : Infinity;
    order.sort((a, b) => rank(a) - rank(b));
  }
  const head = keys.map(key => {
    const sorted = key === sortKey && key !== null;
    const next = () => {
      const best = key !== 'seconds' && higher(key) !== false;
      table(key, sorted ? !descending : best);
      $('table').querySelector(`[data-key="${CSS.escape(String(key))}"]`).focus();
    };
    const direction = key === 'seconds' || higher(key) == null ? '' : higher(key) ? ' ↑' : ' ↓';
    const title = key === null ? 'explainer' : key + direction;
    const hint = 'sort' + (metrics.includes(key) ? arrow(key) : '');
    return element('th', { scope: 'col', 'aria-sort': sorted ? (descending ? 'descending' : 'ascending') : null },
      key === null ? title : element('button', { type: 'button', onclick: next, 'data-key': key, title: hint }, title));
  });
  const rows = order.map(name => element('tr', {}, element('td', {}, name), ...keys.slice(1).map(key => {
    const value = valueOf(name, key);
    if (key === 'seconds') return element('td', {}, known(value) ? value.toPrecision(3) : '–');
    const { interval, num_nan: missing } = score(name, key);
    const range = interval && known(interval[0]) ? element('small', {}, `${figure(key, interval[0])} to ${figure(key, interval[1])}`) : null;
    const note = missing ? element('small', { title: `no value in ${missing} episodes` }, `(${missing} none)`) : null;
    return element('td', { class: known(value) && value === bestOf(key) ? 'best' : null }, figure(key, value), range, note);
  })));
  $('table').replaceChildren(element('table', {}, element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows)));
}

function barChart(metric) {
  const rows = names.map(name => ({ name, ...score(name, metric) })).filter(row => known(row.value));
  if (!rows.length) return null;
  rows.sort((a, b) => (higher(metric) === false ? 1 : -1) * (a.value - b.value));
  const ends = rows.flatMap(row => [row.value, ...(row.interval || []).filter(known)]);
  const low = Math.min(0, ...ends), high = Math.max(1e-9, ...ends);
  return element('section', { class: 'card' }, element('h4', {}, metric + unit(metric) + arrow(metric)),
    ...rows.map(row => barRow(row.name, row.value, row.interval, low, high, colourOf(row.name), figure(metric, row.value))));
}

function lineChart(title, curves) {
  const lines = Object.entries(curves).filter(([, values]) => values && values.filter(known).length > 2);
  if (!lines.length) return null;
  const values = lines.flatMap(([, points]) => points.filter(known));
  const low = Math.min(0, ...values), high = Math.max(...values, low + 1e-6);
  const steps = Math.max(...lines.map(([, points]) => points.length)) - 1;
  const [left, right, top, bottom] = [34, 312, 8, 150];
  const x = i => left + (right - left) * i / steps, y = v => bottom - (bottom - top) * (v - low) / (high - low);
  const chart = vector('svg', { class: 'lines', viewBox: '0 0 320 172', role: 'img', 'aria-label': `${title}: ${lines.map(([name]) => name).join(', ')}` });
  for (const share of [0, 0.5, 1]) {
    const level = low + share * (high - low);
    chart.append(vector('line', { class: 'grid', x1: left, x2: right, y1: y(level), y2: y(level) }),
      vector('text', { x: left - 4, y: y(level) + 3, 'text-anchor': 'end' }, level.toFixed(2)));
  }
  chart.append(vector('text', { x: left, y: 167 }, 'first'), vector('text', { x: right, y: 167, 'text-anchor': 'end' }, 'last'),
    vector('text', { x: (left + right) / 2, y: 167, 'text-anchor': 'middle' }, `${steps + 1} states`));
  for (const [name, points] of lines) {
    const path = points.map((v, i) => known(v) ? `${x(i).toFixed(1)},${y(v).toFixed(1)}` : null).filter(Boolean).join(' ');
    chart.append(vector('polyline', { points: path, stroke: colourOf(name), 'stroke-dasharray': dashOf(name) }, vector('title', {}, name)));
  }
  return element('section', { class: 'card' }, element('h4', {}, title), chart);
}

function legend(list) {
  return element('ul', { class: 'legend' }, ...list.map(name => element('li', {},
    vector('svg', { viewBox: '0 0 22 8', 'aria-hidden': 'true' }, vector('line', { x1: 0, x2: 22, y1: 4, y2: 4, stroke: colourOf(name), 'stroke-width': 3, 'stroke-dasharray': dashOf(name) })), name)));
}

function lineCharts(byMetric, heading) {
  const charts = Object.entries(byMetric).map(([metric, curves]) => lineChart(metric + (summary.metrics ? arrow(metric) : ''), curves)).filter(Boolean);
  if (!charts.length) return null;
  const drawn = [...new Set(Object.values(byMetric).flatMap(Object.keys))];
  return element('div', { class: 'curves' }, element('h4', {}, heading), element('div', { class: 'charts' }, ...charts), legend(drawn));
}

// Shares of layers as columns; layers of one size, that is one scale of the backbone, have one shade.
function layerChart(title, values, sizes) {
  const nameOf = i => sizes && sizes[i] ? `layer ${i + 1} (${sizes[i].join(' × ')})` : `layer ${i + 1}`;
  const scales = [...new Set((sizes || []).map(String))];
  const high = Math.max(...values.filter(known), 1e-9);
  const bars = values.map((value, i) => element('div', { title: `${nameOf(i)}: ${percent(value)}`, style: {
    height: `${100 * Math.max(0, value || 0) / high}%`, opacity: 1 - 0.3 * (Math.max(0, scales.indexOf(String(sizes && sizes[i]))) % 3) } }));
  const best = values.indexOf(Math.max(...values.filter(known)));
  const sums = scales.map(scale => [scale.replace(',', ' × '), values.reduce((sum, v, i) => sum + (String(sizes[i]) === scale ? v || 0 : 0), 0)]);
  return element('div', {}, element('p', { class: 'note' }, title),
    element('div', { class: 'columns-bars', role: 'img', 'aria-label': `${title}: ${values.map((v, i) => `${nameOf(i)} ${percent(v)}`).join(', ')}` }, ...bars),
    element('p', { class: 'note' }, best < 0 ? '' : `most: ${nameOf(best)}, ${percent(values[best])}`),
    sums.length > 1 ? element('p', { class: 'note' }, `by scale: ${sums.map(([scale, sum]) => `${scale}: ${percent(sum)}`).join(', ')}`) : null);
}

function comparison() {
  about();
  if (!names.length) return;
  $('comparison').hidden = false;
  table();
  if (metrics.length) $('remarks').textContent = (metrics.some(inPercent) ? 'Scores in per cent' + (metrics.every(inPercent) ? '' : ', save ' + metrics.filter(key => !inPercent(key)).join(', ')) + '. ' : '') +
    'Small print and lines across bars: 95 % bootstrap interval over episodes.';
  $('bars').append(...metrics.map(barChart).filter(Boolean));
  for (const [parts, list] of merged(Object.entries(summary.contributions || {}))) {
    if (!parts.layers) continue;
    $('bars').append(element('section', { class: 'card' }, element('h4', {}, `What carried the predictions: ${list.join(', ')}`),
      layerChart('share of each compared layer, mean over classes and episodes', parts.layers, parts.layer_sizes)));
  }
  const curves = lineCharts(summary.curves || {}, 'Mean curves');
  if (curves) $('mean-curves').append(curves);
}

// Group explainers that have the same value: the variants of one method share their layers.
function merged(entries) {
  const groups = new Map();
  for (const [name, value] of entries) {
    const key = JSON.stringify(value);
    groups.set(key, [value, [...(groups.get(key) || [null, []])[1], name]]);
  }
  return groups.values();
}

// Pictures

const tint = (path, way) => shape(path, colours.classes[way % 20]);

// Smallest grey value of the wanted share of pixels, over all shots of a class.
async function threshold(shots, name, share) {
  if (share >= 1) return 0;
  const counts = new Array(256).fill(0);
  let wanted = 0;
  for (const shot of shots) {
    const { data } = await decode(shot.maps[name]);
    for (let i = 0; i < data.length; i += 4) counts[data[i]]++;
    wanted += share * data.length / 4;
  }
  let value = 255;
  for (let sum = counts[255]; sum < wanted && value > 0; sum += counts[value]) value--;
  return value;
}

async function paint(canvas, shots, shot, name, signed) {
  const low = await threshold(shots, name, state.top);
  await paintMap(canvas, shot.maps[name], signed ? luts.signed : luts.sequential, low);
}

function heat(data, way, shot, name, caption) {
  const item = data.supports[way][shot];
  const canvas = heatCanvas();
  paint(canvas, data.supports[way], item, name, data.signed.includes(name));
  const figure = picture(item, `${pictureWord} ${shot + 1} of ${data.classes[way]}, attribution by ${name}`, state.outlines ? edges(item.mask) : [], caption, [canvas]);
  figure.classList.toggle('grey', state.grey);
  return figure;
}
function support(data, way, shot) {
  const item = data.supports[way][shot];
  const count = data.supports[way].length > 1 ? `${shot + 1}: ` : '';
  return picture(item, `${pictureWord} ${shot + 1} of ${data.classes[way]} with its mask`, [tint(item.mask, way)], count + item.name);
}

// One episode
function controls(data, redraw) {
  const set = value => () => { state.layer = value; redraw(); };
  const shares = [[1, 'all pixels'], [0.5, 'top 50 %'], [0.2, 'top 20 %'], [0.1, 'top 10 %'], [0.05, 'top 5 %'], [0.01, 'top 1 %']];
  const top = element('select', { onchange: event => { state.top = Number(event.target.value); redraw(); } },
    ...shares.map(([value, text]) => element('option', { value, selected: value === state.top }, text)));
  return element('div', { class: 'card controls' },
    element('fieldset', {}, element('legend', {}, 'Attribution'), choice('layer', 'side by side', '', state.layer === '', set('')),
      ...data.explainers.map(name => choice('layer', name, name, state.layer === name, set(name)))),
    opacityControl(), element('label', {}, 'show', top),
    toggle('mask outline', 'outlines', redraw), toggle('grey picture', 'grey', redraw),
    data.explainers.some(name => !data.signed.includes(name)) ? scale('sequential', 'least', 'most, over the shots of a class') : null,
    data.signed.length ? scale('signed', 'against', 'for') : null);
}

function queryFigure(data) {
  const { query } = data;
  const layers = [];
  if (state.truth) layers.push(...(query.truth || []).map(tint), query.ignored && query.ignored[0] ? vector('path', { d: query.ignored[0], class: 'ignored' }) : null);
  if (state.prediction) layers.push(...query.prediction.map(tint));
  if (state.region) layers.push(...(query.region || []).flatMap(edges));
  return picture(query, `query ${query.name}`, layers.filter(Boolean), query.name);
}

function queryCard(data) {
  const frame = element('div', {}, queryFigure(data));
  const redraw = () => frame.replaceChildren(queryFigure(data));
  const list = element('ul', { class: 'legend' }, ...data.classes.map((name, way) => element('li', { class: 'class-title' },
    element('span', { class: 'swatch', style: { background: colours.classes[way % 20] } }), name)));
  return element('section', { class: 'card' }, element('h4', {}, 'Query'), element('div', { class: 'query' }, frame, element('div', {},
    element('div', { class: 'controls' }, toggle('prediction', 'prediction', redraw), data.query.truth ? toggle('truth', 'truth', redraw) : null,
      data.query.region ? toggle('explained region (white line)', 'region', redraw) : null), list,
    data.reason ? element('p', {}, data.reason) : null, scores(data))));
}

function scores(data) {
  const keys = Object.keys(data.scores);
  if (!data.explainers.length) return null;
  const head = ['explainer', ...keys, 'time'].map(text => element('th', { scope: 'col' }, text));
  const rows = data.explainers.map(name => element('tr', {}, element('td', {}, name),
    ...keys.map(key => element('td', {}, episodeFigure(key, (data.scores[key][name] || {}).value))), element('td', {}, seconds(data.seconds[name]))));
  return element('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `scores of this ${itemWord}` },
    element('table', {}, element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows)));
}

function classCard(data, way) {
  const shots = data.supports[way].map((_, shot) => shot);
  const title = element('h4', { class: 'class-title' }, element('span', { class: 'swatch', style: { background: colours.classes[way % 20] } }),
    ofImages ? data.classes[way] : `${shots.length > 1 ? 'Supports' : 'Support'}: ${data.classes[way]}`);
  const single = data.explainers.includes(state.layer) ? state.layer : null;
  let body;
  if (single || !data.explainers.length) {
    const label = shot => shots.length > 1 ? `${shot + 1}: ${single}` : single;
    body = element('div', { class: 'pictures one' }, ...shots.flatMap(shot => [support(data, way, shot), single ? heat(data, way, shot, single, label(shot)) : null].filter(Boolean)));
  } else {
    const count = data.explainers.length + 1;
    body = element('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `supports of ${data.classes[way]}` },
      element('div', { class: 'pictures', style: { gridTemplateColumns: `repeat(${count}, minmax(118px, 220px))` } },
        ...shots.flatMap(shot => [support(data, way, shot), ...data.explainers.map(name => heat(data, way, shot, name, name))])));
  }
  return element('section', { class: 'card' }, title, body);
}

function contributionCards(data) {
  return [...merged(Object.entries(data.contributions))].map(([parts, list]) => {
    const charts = (parts.layers || []).map((values, way) =>
      layerChart(`share of each compared layer, ${data.classes[way]}`, values, parts.layer_sizes));
    for (const [way, values] of (parts.shots || []).entries()) {
      if (values.length < 2) continue;
      const high = Math.max(...values.filter(known), 1e-9);
      charts.push(element('div', {}, element('p', { class: 'note' }, `share of each support, ${data.classes[way]}`),
        ...values.map((value, shot) => barRow(`${shot + 1}: ${brief(data.supports[way][shot].name)}`, value, null, 0, high, colours.classes[way % 20], percent(value)))));
    }
    const title = element('h4', {}, `What carried the prediction: ${list.join(', ')}`);
    return charts.length ? element('section', { class: 'card' }, title, element('div', { class: 'parts' }, ...charts)) : null;
  }).filter(Boolean);
}

function prototypeCards(data, redraw) {
  if (!data.prototypes) return [];
  const sources = Object.fromEntries(Object.entries(data.prototypes.sources).map(([key, source]) => {
    const { src, width, height } = data.supports[source.way][source.shot];
    return [key, { ...source, picture: src, width, height }];
  }));
  return [prototypeControls(redraw, 'more, on one scale for all maps of the query'),
    ...data.prototypes.classes.map(tree => prototypeCard(tree, data.query, data.prototypes.maps, sources))];
}

function showItem() {
  decoded.clear();
  const data = JSON.parse(current.source.textContent);
  const head = element('div', { class: 'bar-top' },
    element('h3', { id: 'item-title' }, `${ofImages ? 'Image' : 'Episode'} ${data.index}: ${data.classes.join(', ')}` + (known(data.iou) ? `, IoU ${percent(data.iou)}` : '')),
    stepper());
  const classes = element('div', { style: { display: 'grid', gap: '.9rem' } });
  const redraw = () => classes.replaceChildren(...data.classes.map((_, way) => classCard(data, way)));
  redraw();
  const said = element('div', { class: 'cards' });
  const redrawSaid = () => said.replaceChildren(...prototypeCards(data, redrawSaid));
  redrawSaid();
  const curves = Object.fromEntries(Object.entries(data.scores).map(([metric, byName]) =>
    [metric, Object.fromEntries(Object.entries(byName).map(([name, { curve }]) => [name, curve]))]).filter(([, lines]) => Object.values(lines).some(Boolean)));
  const drawn = lineCharts(curves, `Curves of this ${itemWord}`);
  $('item').replaceChildren(...[head, queryCard(data), data.explainers.length ? controls(data, redraw) : null, classes, said,
    ...contributionCards(data), drawn].filter(Boolean));
}

state.sources = 'picture';
comparison();
start();
