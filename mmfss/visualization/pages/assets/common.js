// What all pages share: elements, pictures, the list of items. Scripts of a page stand one after the other in one scope.

const $ = id => document.getElementById(id);
const read = id => JSON.parse($(id).textContent);
const summary = read('summary-data');
const colours = read('colours-data');
const luts = { sequential: bytes(colours.sequential), signed: bytes(colours.signed) };
const items = [...document.querySelectorAll('script.item')].map(
  source => ({ source, ...JSON.parse(source.dataset.brief) }));
const state = { layer: '', opacity: 0.75, top: 1, outlines: true, grey: true, prediction: true, truth: false, region: true, sources: 'patch' };

// Elements. Text is always set as text, never as markup.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  return fill(node, attributes, children);
}
function vector(tag, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}
function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (key === 'style') Object.assign(node.style, value);
    else if (value === true) node.setAttribute(key, '');
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter(child => child != null));
  return node;
}
function bytes(hex) {
  return Uint8Array.from(hex.match(/../g), pair => parseInt(pair, 16));
}
const known = value => typeof value === 'number';
const percent = value => known(value) ? `${(100 * value).toFixed(1)} %` : '–';
const seconds = value => !known(value) ? '–' : value >= 1 ? `${value.toFixed(1)} s` : `${Math.round(1000 * value)} ms`;
const classColour = number => number < 0 ? '#8a8a8a' : colours.classes[number % colours.classes.length];

function barRow(name, value, interval, low, high, colour, text) {
  const place = x => 100 * (Math.min(Math.max(x, low), high) - low) / (high - low || 1);
  const zero = place(Math.max(low, 0));
  const track = element('div', { class: 'track' });
  if (known(value)) {
    const from = Math.min(zero, place(value));
    track.append(element('div', { class: 'bar', style: { left: `${from}%`, width: `${Math.abs(place(value) - zero)}%`, background: colour } }));
  }
  if (interval && known(interval[0])) {
    track.append(element('div', { class: 'whisker', style: { left: `${place(interval[0])}%`, width: `${place(interval[1]) - place(interval[0])}%` } }));
  }
  return element('div', { class: 'row' }, element('span', { title: name }, name), track, element('span', {}, text));
}

// The list of items; `showItem`, which shows the current one, is the page's own.

let shown = [];
let current = null;

// An item may show no class: nothing but background.
const matches = (item, wanted) => !wanted || item.classes.some(name => name.toLowerCase().includes(wanted));

function list() {
  const wanted = $('filter').value.trim().toLowerCase();
  const iou = item => known(item.iou) ? item.iou : -1;
  const orders = {
    index: (a, b) => a.index - b.index, worst: (a, b) => iou(a) - iou(b), best: (a, b) => iou(b) - iou(a),
    class: (a, b) => a.classes.join().localeCompare(b.classes.join()) || a.index - b.index };
  shown = items.filter(item => matches(item, wanted)).sort(orders[$('order').value]);
  const total = summary.num_episodes ?? summary.num_images;
  $('count').textContent = `${shown.length} of ${items.length}` + (total > items.length ? ` on this page, ${total} in the run` : '');
  $('list').replaceChildren(...shown.map(item => element('li', {}, element('button', {
    type: 'button', 'data-index': item.index, onclick: () => select(item), 'aria-current': item === current ? 'true' : null },
    element('span', { class: 'number' }, `#${item.index}`), element('span', {}, item.classes.join(', ')),
    element('span', { class: 'iou' }, item.empty ? 'none' : known(item.iou) ? (100 * item.iou).toFixed(0) : '')))));
  if (current && shown.includes(current)) showItem();
  else if (shown.length) select(shown[0], false);
}

function select(item, remember = true) {
  current = item;
  for (const button of $('list').querySelectorAll('button')) {
    const chosen = Number(button.dataset.index) === item.index;
    if (chosen) button.setAttribute('aria-current', 'true');
    else button.removeAttribute('aria-current');
    if (chosen && remember) button.scrollIntoView({ block: 'nearest' });
  }
  if (remember) history.replaceState(null, '', `#${item.index}`);
  showItem();
}

function step(by) {
  const next = shown[shown.indexOf(current) + by];
  if (next) select(next);
}

// Pictures

const brief = path => path.replace(/[^ :]*\//, '');
function picture(item, name, layers, caption, before = []) {
  const [width, height] = item.size;
  const drawing = vector('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, ...layers);
  const base = item.src ? element('img', { src: item.src, alt: name }) : element('div', { class: 'missing' }, 'picture not found');
  return element('figure', {}, element('div', { class: 'stack', style: { aspectRatio: `${item.width} / ${item.height}` } }, base, ...before, drawing),
    element('figcaption', { title: caption }, brief(caption)));
}
const shape = (path, colour) => path ? vector('path', { d: path, class: 'class-edge', fill: colour, stroke: colour }) : null;
const edges = path => path ? [vector('path', { d: path, class: 'rim' }), vector('path', { d: path, class: 'edge' })] : [];

const decoded = new Map();
function decode(src) {
  if (!decoded.has(src)) {
    decoded.set(src, new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => {
        const canvas = element('canvas', { width: image.naturalWidth, height: image.naturalHeight });
        const context = canvas.getContext('2d', { willReadFrequently: true });
        context.drawImage(image, 0, 0);
        resolve(context.getImageData(0, 0, canvas.width, canvas.height));
      };
      image.onerror = reject;
      image.src = src;
    }));
  }
  return decoded.get(src);
}

// Paint a map with the colours of a scale; values below `low` stay transparent, `gain` brightens.
async function paintMap(canvas, src, lut, low = 0, gain = 1) {
  const { data, width, height } = await decode(src);
  canvas.width = width;
  canvas.height = height;
  const result = new ImageData(width, height);
  for (let i = 0; i < data.length; i += 4) {
    const value = Math.min(255, Math.round(gain * data[i]));
    for (let c = 0; c < 3; c++) result.data[i + c] = lut[4 * value + c];
    result.data[i + 3] = value >= low ? lut[4 * value + 3] : 0;
  }
  canvas.getContext('2d').putImageData(result, 0, 0);
}
const heatCanvas = () => element('canvas', { class: 'heat', style: { opacity: state.opacity }, 'aria-hidden': 'true' });

// Controls

function choice(name, text, value, chosen, onchange) {
  return element('label', { class: 'chip' }, element('input', { type: 'radio', name, value, checked: chosen, onchange }), element('span', {}, text));
}
function toggle(text, key, redraw) {
  return element('label', {}, element('input', { type: 'checkbox', checked: state[key], onchange: event => { state[key] = event.target.checked; redraw(); } }), text);
}
function scale(kind, low, high) {
  const canvas = element('canvas', { width: 256, height: 1, 'aria-hidden': 'true' });
  const image = new ImageData(256, 1);
  image.data.set(luts[kind]);
  canvas.getContext('2d').putImageData(image, 0, 0);
  return element('span', { class: 'scale' }, low, canvas, high);
}

function opacityControl() {
  return element('label', {}, 'opacity', element('input', { type: 'range', min: 0, max: 100, value: 100 * state.opacity, oninput: event => {
    state.opacity = event.target.value / 100;
    for (const canvas of document.querySelectorAll('canvas.heat')) canvas.style.opacity = state.opacity;
  } }));
}
function stepper() {
  const place = shown.indexOf(current);
  return element('span', {}, element('button', { type: 'button', disabled: place <= 0, onclick: () => step(-1), title: 'left arrow key' }, '← previous'), ' ',
    element('button', { type: 'button', disabled: place >= shown.length - 1, onclick: () => step(1), title: 'right arrow key' }, 'next →'));
}

// Called at the end of a page's script.
function start() {
  $('filter').addEventListener('input', list);
  $('order').addEventListener('change', list);
  document.addEventListener('keydown', event => {
    if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === 'ArrowLeft') step(-1);
    if (event.key === 'ArrowRight') step(1);
  });
  current = items.find(item => `#${item.index}` === location.hash) || null;
  list();
}
