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
      ColorBar: { major_label_text_color: ink },
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

  const connectFilters = (cards) => {
    const classes = document.getElementById('class-filter');
    const reasons = document.getElementById('reason-filter');
    const list = document.getElementById('cards');
    const status = document.getElementById('shown');
    const known = new Map(cards.map((card) => [
      card, { scores: JSON.parse(card.dataset.scores), ranks: JSON.parse(card.dataset.ranks) },
    ]));
    const describe = (number, name, reason) => {
      if (name === '' && reason === '') return `${cards.length} images`;
      const parts = [`${number} of ${cards.length} images`];
      if (name !== '') parts.push(`have ${name}`);
      if (reason !== '') parts.push(`${name === '' ? 'were' : 'and were'} chosen for ${reason}`);
      return `${parts.join(' ')}, the worst first`;
    };
    const showScore = (card, id, name) => {
      const score = card.querySelector('.score');
      score.hidden = id === '' || card.hidden;
      if (score.hidden) return;
      score.querySelector('dt').textContent = `${classes.dataset.scoreName} of ${name}`;
      score.querySelector('dd').textContent = `${(100 * known.get(card).scores[id]).toFixed(1)} %`;
    };
    const filter = () => {
      const id = classes?.value ?? '';
      const reason = reasons?.value ?? '';
      // the place that decides the order: within the class, else within the reason
      const place = (card) => (id === '' ? known.get(card).ranks[reason] : known.get(card).scores[id]);
      const shown = cards.filter((card) => (id === '' || id in known.get(card).scores)
        && (reason === '' || reason in known.get(card).ranks));
      if (id !== '' || reason !== '') shown.sort((a, b) => place(a) - place(b));
      const name = id === '' ? '' : classes.selectedOptions[0].textContent;
      for (const card of cards) {
        card.hidden = !shown.includes(card);
        showScore(card, id, name);
      }
      list.append(...shown);
      status.textContent = describe(shown.length, name, reason);
    };
    for (const select of [classes, reasons]) select?.addEventListener('change', filter);
    if (list) filter();
  };

  const connectKeys = () => {
    const current = () => document.activeElement?.closest('.card');
    const go = (step) => {
      const shown = [...document.querySelectorAll('.card:not([hidden])')];
      const next = shown[Math.min(Math.max(shown.indexOf(current()) + step, 0), shown.length - 1)];
      next?.focus();
      next?.scrollIntoView({ block: 'start' });
    };
    const slide = (step) => {
      const slider = current()?.querySelector('.sweep input');
      if (!slider) return;
      slider.value = String(Number(slider.value) + step);
      slider.dispatchEvent(new Event('input'));
    };
    const actions = {
      j: () => go(1),
      k: () => go(-1),
      '[': () => slide(-5),
      ']': () => slide(5),
      c: () => document.getElementById('class-filter')?.focus(),
      r: () => document.getElementById('reason-filter')?.focus(),
    };
    addEventListener('keydown', (event) => {
      // a list takes letters itself; with a modifier they are the browser's
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.('select')) return;
      if (!(event.key in actions)) return;
      event.preventDefault();
      actions[event.key]();
    });
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
  connectFilters(cards);
  connectKeys();
  document.body.dataset.cards = String(cards.length);
  drawPlots();
})();
