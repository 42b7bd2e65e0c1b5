// Cards of a decomposed prediction: groups, their prototypes, and the sources of these.

const signedNumber = value => `${value < 0 ? '−' : '+'}${Math.abs(value) < 100 ? Math.abs(value).toFixed(2) : Math.abs(value).toPrecision(3)}`;

function mapFigure(item, tree, src, name, caption) {
  const canvas = heatCanvas();
  paintMap(canvas, src, luts.sequential, 0, 1 / tree.top);
  const figure = picture(item, name, state.outlines ? edges(tree.region) : [], caption, [canvas]);
  figure.classList.toggle('grey', state.grey);
  return figure;
}

function sourceFigure(source, item) {
  if (!source || !(state.sources === 'patch' ? source.patch : source.picture)) {
    return element('figure', {}, element('div', { class: 'stack', style: { aspectRatio: `${item.width} / ${item.height}` } },
      element('div', { class: 'missing' }, source ? 'picture not found' : 'source not known')), element('figcaption', {}, source ? source.name : ''));
  }
  if (state.sources === 'patch') {
    return element('figure', {}, element('div', { class: 'stack', style: { aspectRatio: `${item.width} / ${item.height}` } },
      element('img', { src: source.patch, alt: `patch of ${source.name}`, class: 'whole' })), element('figcaption', { title: source.place }, source.name));
  }
  const [left, top, width, height] = source.box;
  const frame = kind => vector('rect', { x: left, y: top, width, height, class: kind, 'vector-effect': 'non-scaling-stroke' });
  const layers = [];
  if (source.map) {
    const canvas = heatCanvas();
    paintMap(canvas, source.map, luts.sequential);
    layers.push(canvas);
  }
  const figure = picture({ ...source, src: source.picture }, `source ${source.name}`, [frame('rim'), frame('edge')], source.name, layers);
  figure.querySelector('figcaption').title = source.place;
  return figure;
}

function prototypeFigure(prototype, tree, item, maps, sources, low, high) {
  const source = sources[prototype.source];
  return element('div', { class: 'prototype' },
    element('div', { class: 'pair' },
      mapFigure(item, tree, maps[prototype.map], `where prototype ${prototype.title} is found`, prototype.scale),
      sourceFigure(source, item)),
    barRow(prototype.title, prototype.value, null, low, high, prototype.colour, signedNumber(prototype.value)),
    element('p', { class: 'note' }, prototype.detail));
}

function prototypeGroup(group, tree, item, maps, sources, low, high) {
  const title = element('h5', { class: 'class-title' }, element('span', { class: 'swatch', style: { background: group.colour } }),
    group.title, element('span', { class: 'formula' }, group.formula));
  const list = element('div', { class: 'prototypes' }, ...group.prototypes.map(entry => prototypeFigure(entry, tree, item, maps, sources, low, high)));
  const notes = [];
  if (!group.prototypes.length) notes.push('No prototype is left in this group: it says the same everywhere.');
  if (group.more) notes.push(`${group.more} more with smaller parts.`);
  return element('div', { class: 'group' }, title,
    known(group.map) ? element('div', { class: 'group-map' }, mapFigure(item, tree, maps[group.map], `where ${group.title} is found`, 'the group')) : null,
    list, ...notes.map(text => element('p', { class: 'note' }, text)));
}

// One class of one image or episode.
function prototypeCard(tree, item, maps, sources) {
  const overview = element('div', { class: 'pictures one' },
    picture(item, 'what is explained', edges(tree.region), 'what is explained'),
    ...tree.strongest.map(({ src, caption }) => picture(item, caption, edges(tree.region), caption,
      [element('img', { src, alt: '', class: 'choice' })])));
  const ends = [0, ...tree.terms.map(term => term.value)];
  const low = Math.min(...ends), high = Math.max(...ends);
  const bars = element('div', {}, element('p', { class: 'note' }, tree.total),
    ...tree.terms.map(term => barRow(term.name, term.value, null, low, high, term.colour, signedNumber(term.value))));
  const values = [0, ...tree.groups.flatMap(group => group.prototypes.map(prototype => prototype.value))];
  return element('section', { class: 'card' },
    element('h4', { class: 'class-title' }, element('span', { class: 'swatch', style: { background: tree.colour } }), tree.title),
    element('div', { class: 'whole-class' }, overview, bars),
    ...tree.groups.map(group => prototypeGroup(group, tree, item, maps, sources, Math.min(...values), Math.max(...values, 1e-9))));
}

function prototypeControls(redraw, hint) {
  const set = value => () => { state.sources = value; redraw(); };
  return element('div', { class: 'card controls' },
    element('fieldset', {}, element('legend', {}, 'Sources'), choice('sources', 'patch', 'patch', state.sources === 'patch', set('patch')),
      choice('sources', 'whole picture', 'picture', state.sources === 'picture', set('picture'))),
    opacityControl(), toggle('outline', 'outlines', redraw), toggle('grey picture', 'grey', redraw), scale('sequential', 'less alike', hint));
}
