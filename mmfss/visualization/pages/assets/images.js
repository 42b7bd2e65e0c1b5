// Images, their classes and their failures.

const runFacts = [summary.dataset, `${summary.num_images} images`, known(summary.mean_iou) ? `mean IoU ${percent(summary.mean_iou)}` : null,
  `explained region: ${summary.region.replace('_', ' ')}`, summary.config ? String(summary.config).split('/').pop() : null];
$('about').textContent = runFacts.filter(Boolean).join(' · ');

const columns = [
  { key: 'name', title: 'class' }, { key: 'images', title: 'images' }, { key: 'iou', title: 'IoU', show: percent },
  ...(summary.stage === 2 ? [{ key: 'groups', title: 'groups' }] : []), { key: 'prototypes', title: 'prototypes' },
  { key: 'logit', title: 'logit', show: value => value.toFixed(2) }, { key: 'own', title: 'own part', show: value => value.toFixed(2) },
  { key: 'own_share', title: 'own share', show: percent }, { key: 'top_share', title: 'top prototype', show: percent }];

function classTable(sortKey = null, descending = false) {
  const rank = entry => known(entry[sortKey]) ? entry[sortKey] * (descending ? -1 : 1) : Infinity;
  const byName = (a, b) => a.name.localeCompare(b.name) * (descending ? -1 : 1);
  const rows = [...summary.per_class];
  if (sortKey !== null) rows.sort(sortKey === 'name' ? byName : (a, b) => rank(a) - rank(b));
  const head = columns.map(({ key, title }) => element('th', {
    scope: 'col', 'aria-sort': key === sortKey ? (descending ? 'descending' : 'ascending') : null },
    element('button', { type: 'button', title: summary.definitions[key] || 'sort', 'data-key': key, onclick: () => {
      classTable(key, key === sortKey ? !descending : key !== 'name');
      $('table').querySelector(`[data-key="${key}"]`).focus();
    } }, title)));
  const body = rows.map(entry => element('tr', {}, ...columns.map(({ key, show }) => {
    if (key === 'name') {
      return element('td', {}, element('span', { class: 'class-title' }, element('span', { class: 'swatch', style: { background: classColour(entry.colour) } }), entry.name));
    }
    return element('td', {}, known(entry[key]) ? (show || String)(entry[key]) : '–');
  })));
  $('table').replaceChildren(element('table', {}, element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...body)));
}

function failureTable() {
  if (!summary.failures.length) return;
  $('failures').hidden = false;
  $('failures-note').textContent = `Classes with an IoU below ${percent(summary.failure_threshold)} in an image, worst first, and what most of ` +
    'their wrong pixels were taken for. Both classes are explained over these pixels.';
  const known_items = new Set(items.map(item => item.index));
  const rows = summary.failures.map(failure => element('tr', {},
    element('td', {}, failure.class_name), element('td', {}, percent(failure.iou)),
    element('td', { class: 'words' }, `${failure.pixels} pixels of ${failure.truth} taken for ${failure.predicted}`),
    element('td', {}, known_items.has(failure.index) ? element('button', { type: 'button', onclick: () => {
      state.part = `failure ${failure.number}`;
      select(items.find(item => item.index === failure.index));
      $('item').scrollIntoView({ block: 'start' });
    } }, `image ${failure.index}`) : `image ${failure.index}`)));
  const head = ['class', 'IoU', 'mostly', ''].map(text => element('th', { scope: 'col', class: text === 'mostly' ? 'words' : null }, text));
  $('failure-list').replaceChildren(element('table', {}, element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows)));
}

function labelFigure(data) {
  const layers = [];
  const labels = list => layers.push(...list.map(({ path, colour }) => shape(path, classColour(colour))));
  if (state.truth && data.truth) {
    labels(data.truth);
    if (data.ignored) layers.push(vector('path', { d: data.ignored, class: 'ignored' }));
  }
  if (state.prediction) labels(data.prediction);
  return picture(data, `image ${data.name}`, layers.filter(Boolean), data.name);
}

function imageCard(data) {
  const frame = element('div', {}, labelFigure(data));
  const redraw = () => frame.replaceChildren(labelFigure(data));
  const legend = element('ul', { class: 'legend' }, ...data.legend.map(({ name, colour, iou }) => element('li', { class: 'class-title' },
    element('span', { class: 'swatch', style: { background: classColour(colour) } }), known(iou) ? `${name} (IoU ${percent(iou)})` : name)));
  return element('section', { class: 'card' }, element('div', { class: 'query' }, frame, element('div', {},
    element('div', { class: 'controls' }, toggle('prediction', 'prediction', redraw), data.truth ? toggle('truth', 'truth', redraw) : null),
    legend, data.reason ? element('p', {}, data.reason) : null)));
}

function partsOf(data) {
  const parts = data.explained.map((tree, place) => ({ key: `class ${tree.class_id}`, name: tree.class_name, trees: [tree] }));
  data.failures.forEach((failure, number) => parts.push({ key: `failure ${number}`, name: `${failure.class_name}: failure`, trees: failure.explained,
    note: `${failure.class_name} has an IoU of ${percent(failure.iou)} here: ${failure.pixels} pixels of ${failure.truth} are taken for ${failure.predicted}. Over these pixels, first what speaks for ${failure.truth}, then what speaks for ${failure.predicted}.` }));
  return parts;
}

function showItem() {
  decoded.clear();
  const data = JSON.parse(current.source.textContent);
  const head = element('div', { class: 'bar-top' },
    element('h3', { id: 'item-title' }, `Image ${data.index}: ${data.name}` + (known(data.iou) ? `, IoU ${percent(data.iou)}` : '')), stepper());
  const parts = partsOf(data);
  const cards = element('div', { class: 'cards' });
  const draw = () => {
    const part = parts.find(({ key }) => key === state.part) || parts[0];
    if (!part) return;
    cards.replaceChildren(...(part.note ? [element('p', {}, part.note)] : []),
      ...part.trees.map(tree => prototypeCard(tree, data, data.maps, sourcePictures)));
  };
  const chosen = (parts.find(({ key }) => key === state.part) || parts[0] || {}).key;
  const chips = element('div', { class: 'card controls' }, element('fieldset', {}, element('legend', {}, 'Class'),
    ...parts.map(({ key, name }) => choice('part', name, key, key === chosen, () => { state.part = key; draw(); }))));
  draw();
  $('item').replaceChildren(...[head, imageCard(data), ...(parts.length ? [chips, prototypeControls(draw, 'more, on one scale for all maps of the class')] : []), cards]);
}

const sourcePictures = read('sources-data');
$('remarks').textContent = 'Logit: mean over the region of the class, then over images. Own part: what groups or prototypes of the class make up of it; ' +
  'the rest is what other classes add or take away. Own share: of the absolute parts. Top prototype: part of the largest one in the own part.';
classTable();
failureTable();
start();
