'use strict';
(() => {
  const drawPlots = async () => {
    const items = [...document.querySelectorAll('.plot-data')].map((e) => JSON.parse(e.textContent));
    for (const item of items) await Bokeh.embed.embed_item(item);
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
    const classes = document.getElementById('class-filter');
    if (!classes) return;
    const scores = new Map(cards.map((card) => [card, JSON.parse(card.dataset.scores)]));
    const showScore = (card, id, name) => {
      const score = card.querySelector('.score');
      score.hidden = id === '' || card.hidden;
      if (score.hidden) return;
      score.querySelector('dt').textContent = `${classes.dataset.scoreName} of ${name}`;
      score.querySelector('dd').textContent = `${(100 * scores.get(card)[id]).toFixed(1)} %`;
    };
    const filter = () => {
      const id = classes.value;
      const name = classes.selectedOptions[0].textContent;
      const shown = cards.filter((card) => id === '' || id in scores.get(card));
      if (id !== '') shown.sort((a, b) => scores.get(a)[id] - scores.get(b)[id]);
      for (const card of cards) {
        card.hidden = !shown.includes(card);
        showScore(card, id, name);
      }
      document.getElementById('cards').append(...shown);
      document.getElementById('shown').textContent = id === '' ? `${cards.length} images`
        : `${shown.length} of ${cards.length} images have ${name}, the worst first`;
    };
    classes.addEventListener('change', filter);
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
