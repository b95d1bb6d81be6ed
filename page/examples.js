'use strict';

element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-index]');
  if (button) trigger('pick', { index: Number(button.dataset.index) });
});
