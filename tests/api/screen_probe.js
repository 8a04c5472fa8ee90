// Looks at the page that stands: too wide, too faint, out of reach, without a name.
(() => {
  const CONTRAST_MIN = 4.5;
  for (const one of document.querySelectorAll("details")) one.open = true;
  const rgb = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const found = rgb(getComputedStyle(at).backgroundColor);
      if (found.length && found[3] !== 0) return found;
    }
    return [255, 255, 255];
  };
  const faint = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !one.getClientRects().length || one.closest(".skip")) continue;
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(behind(one))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < CONTRAST_MIN) faint.add(`${one.tagName}.${one.className} ${ratio.toFixed(2)}`);
  }
  const fields = [...document.querySelectorAll("input:not([type=hidden]), textarea, select")];
  const controls = [...document.querySelectorAll("a, button, summary"), ...fields];
  return {
    wide: document.documentElement.scrollWidth,
    faint: [...faint],
    unreachable: controls.filter((one) => one.tabIndex < 0).map((one) => one.outerHTML.slice(0, 60)),
    unlabelled: [
      ...fields.filter((one) => !one.labels.length && !one.getAttribute("aria-label")),
      ...[...document.querySelectorAll("a, button")].filter((one) => !one.textContent.trim()),
      ...[...document.querySelectorAll("section")].filter((one) => !one.getAttribute("aria-labelledby")),
    ].map((one) => one.outerHTML.slice(0, 60)),
    main: document.querySelectorAll("main").length,
    headings: document.querySelectorAll("h1").length,
  };
})()
