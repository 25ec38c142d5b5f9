'use strict';
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // what Bokeh draws in black by default, in the page's own colours
  const theme = () => {
    const [ink, quiet, line] = [css('--ink'), css('--quiet'), css('--line')];
    const axis = {
      axis_label_text_color: ink, major_label_text_color: ink,
      axis_line_color: quiet, major_tick_line_color: quiet,
    };
    return {
      LinearAxis: axis, CategoricalAxis: axis, LogAxis: axis, DatetimeAxis: axis,
      Grid: { grid_line_color: line },
      Figure: { outline_line_color: line },
      Title: { text_color: ink },
      Text: { text_color: { value: ink } },
      Legend: { label_text_color: ink, background_fill_color: css('--raised'), border_line_color: line },
    };
  };

  const paintPlots = () => {
    const attributes = theme();
    for (const plots of globalThis.Bokeh?.documents ?? []) {
      for (const model of plots.all_models) {
        if (model.type in attributes) model.setv(attributes[model.type]);
      }
    }
  };

  const drawPlots = async () => {
    const items = [...document.querySelectorAll('.plot-data')].map((e) => JSON.parse(e.textContent));
    for (const item of items) await Bokeh.embed.embed_item(item);
    paintPlots();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', paintPlots);
    document.body.dataset.plots = String(items.length);
  };

  const layPhotographs = (card) => {
    const photo = card.querySelector('.photo');
    for (const stack of card.querySelectorAll('.stack')) {
      if (stack.contains(photo)) continue;
      const copy = photo.cloneNode();
      copy.alt = '';
      stack.prepend(copy);
    }
  };

  const connectSlider = (pane) => {
    const slider = pane.querySelector('input[type=range]');
    if (!slider) return;
    const stack = pane.querySelector('.stack');
    const show = () => stack.style.setProperty('--cut', `${slider.value}%`);
    const follow = (event) => {
      if (!event.buttons) return;
      const box = stack.getBoundingClientRect();
      slider.value = String((100 * (event.clientX - box.left)) / box.width);
      show();
    };
    slider.addEventListener('input', show);
    stack.addEventListener('pointerdown', follow);
    stack.addEventListener('pointermove', follow);
    stack.addEventListener('dragstart', (event) => event.preventDefault());
    // a browser that restores a form on reload fires no event
    show();
  };

  const connectFilter = (cards) => {
    const select = document.getElementById('class-filter');
    if (!select) return;
    const list = document.getElementById('cards');
    const status = document.getElementById('shown');
    const scores = new Map(cards.map((card) => [card, JSON.parse(card.dataset.scores)]));
    const filter = () => {
      const id = select.value;
      const scoreOf = (card) => scores.get(card)[id];
      const shown = id === '' ? [...cards] : cards.filter((card) => scoreOf(card) !== undefined);
      if (id !== '') shown.sort((a, b) => scoreOf(a) - scoreOf(b));
      const name = select.selectedOptions[0].textContent;
      for (const card of cards) {
        card.hidden = !shown.includes(card);
        const score = card.querySelector('.score');
        score.hidden = id === '' || card.hidden;
        if (score.hidden) continue;
        score.querySelector('dt').textContent = `${select.dataset.scoreName} of ${name}`;
        score.querySelector('dd').textContent = `${(100 * scoreOf(card)).toFixed(1)} %`;
      }
      list.append(...shown);
      status.textContent = id === ''
        ? `${cards.length} pictures`
        : `${shown.length} of ${cards.length} pictures have ${name}, the worst first`;
    };
    select.addEventListener('change', filter);
    filter();
  };

  const connectStrength = () => {
    const slider = document.getElementById('strength');
    if (!slider) return;
    const show = () => document.documentElement.style.setProperty('--strength', slider.value / 100);
    slider.addEventListener('input', show);
    show();
  };

  const cards = [...document.querySelectorAll('.card')];
  cards.forEach(layPhotographs);
  document.querySelectorAll('.pane').forEach(connectSlider);
  connectStrength();
  connectFilter(cards);
  document.body.dataset.cards = String(cards.length);
  drawPlots();
})();
