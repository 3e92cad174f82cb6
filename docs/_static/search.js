// What the search shows of a page: of its text, not of its title, which stands above, or of the theme's buttons.
addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const toText = Search.htmlToText;
  Search.htmlToText = (html, anchor) => {
    const article = new DOMParser().parseFromString(html, "text/html").querySelector("article.bd-article");
    if (!article) return toText(html, anchor);
    article.querySelectorAll("h1").forEach((title) => title.remove());
    return toText(`<div role="main">${article.innerHTML}</div>`, anchor);
  };
}, true);
