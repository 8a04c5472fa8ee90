// Looks at the page from outside, in a frame as wide as the screen.
const CONTRAST_MIN = 4.5;
addEventListener("load", () => {
  const view = frame.contentWindow, page = frame.contentDocument;
  for (const one of page.querySelectorAll("details")) one.open = true;
  const rgb = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (one) => {
    if (one.closest("g.box")) return rgb(view.getComputedStyle(one.closest("g").querySelector("rect")).fill);
    for (let at = one; at; at = at.parentElement) {
      const found = rgb(view.getComputedStyle(at).backgroundColor);
      if (found.length && found[3] !== 0) return found;
    }
    return [255, 255, 255];
  };
  const faint = (theme) => {
    page.documentElement.dataset.theme = theme;
    const found = new Set();
    const texts = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const one = texts.currentNode.parentElement;
      if (!texts.currentNode.data.trim() || ["SCRIPT", "STYLE", "TITLE"].includes(one.tagName.toUpperCase())) continue;
      if (!one.getClientRects().length || one.closest(".skip, meter")) continue;
      const style = view.getComputedStyle(one);
      const [a, b] = [light(rgb(one.closest("svg") ? style.fill : style.color)), light(behind(one))].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < CONTRAST_MIN) found.add(`${theme} ${one.tagName}.${one.getAttribute("class")} ${ratio.toFixed(2)}`);
    }
    return [...found];
  };
  const unreachable = [...page.querySelectorAll("a, button, input, summary, .scroll, pre")]
    .filter((one) => one.tabIndex < 0).map((one) => one.outerHTML.slice(0, 60));
  const wanted = page.getElementById("filter");
  wanted.value = "birthday";
  wanted.dispatchEvent(new view.Event("input"));
  const left = [...page.querySelectorAll(".card")].filter((one) => !one.hidden).length;
  const button = page.getElementById("theme");
  const before = button.textContent;
  button.click();
  const after = button.textContent;
  document.title = "seen";
  document.body.textContent = JSON.stringify({
    wide: page.documentElement.scrollWidth, faint: [...faint("light"), ...faint("dark")],
    unreachable, left, before, after, ran: Boolean(view.ran), 
    pictures: page.querySelectorAll("svg.journey").length,
  });
});
