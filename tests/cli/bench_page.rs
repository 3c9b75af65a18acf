//! The page of `tanner bench --report`, looked at in a browser: `chromium` has to be there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::{CODEC, report};
use crate::harness::{Place, files_below, tanner};

/// A page with every plot, from four runs in one, and with names that want to be markup.
fn page(place: &Place) -> PathBuf {
    let directory = place.join("a-directory-with-a-rather-long-name-that-no-label-has-room-for-<b>&amp;");
    fs::create_dir(&directory).unwrap();
    let mut last = report(&tanner(CODEC).run().expect(0));
    for run in [
        tanner("bench disk --json --size 64KiB --rounds 2").arg(&directory).arg(place.path()),
        tanner("bench net --json --size 64KiB --rounds 2"),
        tanner("bench e2e --json --size 256KiB --rounds 2 -k 4 -m 2 --to").arg(place.path()),
    ] {
        let other = report(&run.run().expect(0));
        for field in ["measurements", "directories", "notes"] {
            last[field].as_array_mut().unwrap().extend(other[field].as_array().unwrap().clone());
        }
    }
    last["notes"].as_array_mut().unwrap().push("<script>document.title = 'run'</script>".into());
    let saved = json!({ "message_type": "summary", "bench_version": 1, "report": last });
    let (saved, page) = (place.file("saved.json", saved.to_string().as_bytes()), place.join("page.html"));
    tanner("bench --show").arg(saved).arg("--report").arg(&page).run().expect(0).err_has("page.html");
    page
}

fn chromium(place: &Place, words: &[&str], url: &Path) -> Vec<u8> {
    let mut command = Command::new("chromium");
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
    ]);
    command.arg(format!("--user-data-dir={}", place.join("profile").display()));
    let output = command.args(words).arg(format!("file://{}", url.display())).output();
    let output = output.expect("chromium is installed: apt-get install chromium");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What a script beside the page, which has none, finds out about it in a frame of that width. It has [`TOOLS`].
pub(crate) fn measured(place: &Place, page: &Path, width: u32, scheme: &str, script: &str) -> Value {
    let html = fs::read_to_string(page).unwrap().replace('&', "&amp;").replace('"', "&quot;");
    let probe = format!(
        "<!DOCTYPE html><meta charset=utf-8><body style=margin:0>\
         <iframe id=page style=\"border:0;width:{width}px;height:9000px\" srcdoc=\"{html}\"></iframe>\
         <pre id=result></pre><script>document.getElementById('page').onload = () => {{{TOOLS}{script}}};</script>"
    );
    let probe = place.file("probe.html", probe.as_bytes());
    let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
    let words = [scheme.as_str(), "--window-size=1400,1000", "--virtual-time-budget=4000", "--dump-dom"];
    let dom = String::from_utf8(chromium(place, &words, &probe)).unwrap();
    let (_, result) = dom.split_once("<pre id=\"result\">").expect("the page of the probe");
    let (result, _) = result.split_once("</pre>").unwrap();
    let result = result.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&result).unwrap_or_else(|error| panic!("{error}: {result}"))
}

pub(crate) const DARK: &str = "0";
pub(crate) const LIGHT: &str = "1";

#[test]
fn nothing_overlaps_overflows_or_is_missing_at_any_width() {
    let place = Place::new();
    let page = page(&place);
    for (width, scheme) in [(1100, LIGHT), (400, LIGHT), (400, DARK), (320, LIGHT)] {
        let seen = measured(&place, &page, width, scheme, MEASURE);
        assert_eq!(seen["troubles"], json!([]), "at {width} pixels");
        assert_eq!(seen["plots"], 10, "at {width} pixels");
        assert!(seen["scroll"].as_u64().unwrap() <= u64::from(width), "scrolls sideways at {width}: {seen}");
        assert_eq!((&seen["scripts"], &seen["links"]), (&0.into(), &0.into()), "needs nothing");
        let smallest = seen["letters"].as_f64().unwrap();
        assert!(width < 400 || smallest >= 9.0, "letters of {smallest} pixels at {width}");
        let contrast = seen["contrast"].as_f64().unwrap();
        assert!(contrast >= 4.5, "contrast of {contrast} in scheme {scheme}");
    }
}

#[test]
fn light_and_dark_look_like_it_and_plots_are_painted() {
    let place = Place::new();
    let page = page(&place);
    for (name, scheme, back, bar) in [
        ("light", LIGHT, [0xf6, 0xf7, 0xf9], [0x1f, 0x6f, 0xb5]),
        ("dark", DARK, [0x12, 0x16, 0x1b], [0x62, 0xae, 0xf0]),
    ] {
        let picture = shot(&place, &page, name, scheme, "--window-size=1100,2400");
        let pixels = pixels(&picture);
        assert_eq!(pixels[0], back, "the background in {name}");
        let bars = pixels.iter().filter(|pixel| **pixel == bar).count();
        assert!(bars > 5000, "{bars} pixels of bars in {name}");
    }
}

/// A picture of the page in that window.
pub(crate) fn shot(place: &Place, page: &Path, name: &str, scheme: &str, window: &str) -> PathBuf {
    let picture = place.join(&format!("{name}.png"));
    let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
    let shot = format!("--screenshot={}", picture.display());
    chromium(place, &[&scheme, &shot, window], page);
    picture
}

pub(crate) fn pixels(picture: &Path) -> Vec<[u8; 3]> {
    let mut decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(picture).unwrap()));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    let channels = info.color_type.samples();
    bytes.chunks_exact(channels).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

#[test]
fn text_is_escaped_and_every_plot_has_a_name() {
    let place = Place::new();
    let html = fs::read_to_string(page(&place)).unwrap();
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;"));
    assert!(
        !html.contains("<b>") && !html.contains("http://") && !html.contains("https://"),
        "loads nothing"
    );
    assert_eq!(html.matches("<svg role=\"img\"").count(), html.matches("<desc id=").count());
}

#[test]
fn a_page_that_exists_is_kept_unless_it_is_forced() {
    let place = Place::new();
    let page = place.file("out/page.html", b"old");
    let words = "bench net --size 64KiB --rounds 1 --report";
    tanner(words).arg(&page).run().expect(2).is_one_line_of_error().err_has("--force");
    assert_eq!(fs::read(&page).unwrap(), b"old");
    tanner(words).arg(&page).arg("--force").run().expect(0);
    assert!(fs::read_to_string(&page).unwrap().starts_with("<!DOCTYPE html>"));
    assert_eq!(files_below(&place.join("out")), ["page.html"]);
    tanner(words).arg(place.join("no/such/page.html")).run().expect(1).is_one_line_of_error();
    // A run that fails writes no page.
    let run = tanner("bench net --connect 127.0.0.1:1 --report").arg(place.join("out/none.html")).run();
    run.expect(10);
    assert_eq!(files_below(&place.join("out")), ["page.html"]);
}

/// The page, a list for what is wrong with it, and the contrast of two colours as WCAG 2 has it; the least letters and
/// contrast found so far.
const TOOLS: &str = r"
  const page = document.getElementById('page').contentDocument, troubles = [];
  const styled = (e) => page.defaultView.getComputedStyle(e);
  const luminance = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  let letters = 99, least = 99;
";

/// What is looked for in the page.
const MEASURE: &str = r"
  const card = styled(page.querySelector('figure')).backgroundColor;
  for (const svg of page.querySelectorAll('svg')) {
    const view = svg.viewBox.baseVal, boxes = [];
    for (const text of svg.querySelectorAll('text')) {
      const box = text.getBBox();
      const words = text.textContent.trim();
      letters = Math.min(letters, parseFloat(styled(text).fontSize) * svg.getBoundingClientRect().width / view.width);
      least = Math.min(least, contrast(styled(text).fill, card));
      if (box.x < -1 || box.y < -2 || box.x + box.width > view.width + 1 || box.y + box.height > view.height + 2)
        troubles.push('outside: ' + words);
      for (const [other, name] of boxes)
        if (box.x < other.x + other.width - 1 && other.x < box.x + box.width - 1 && box.y < other.y + other.height - 3 && other.y < box.y + box.height - 3)
          troubles.push('overlap: ' + words + ' and ' + name);
      boxes.push([box, words]);
    }
    if (svg.querySelectorAll('rect, polyline, circle').length < 2) troubles.push('blank: ' + svg.querySelector('title').textContent);
  }
  for (const e of page.querySelectorAll('h1, h2, h3, p, figure'))
    if (e.scrollWidth > e.clientWidth + 1) troubles.push('overflows: ' + e.textContent.slice(0, 40));
  for (const e of page.querySelectorAll('p, h3, td, th'))
    least = Math.min(least, contrast(styled(e).color, card));
  document.getElementById('result').textContent = JSON.stringify({
    troubles, letters, contrast: least, plots: page.querySelectorAll('svg').length,
    scroll: page.documentElement.scrollWidth, scripts: page.scripts.length,
    links: page.querySelectorAll('link, img, iframe, [src], [href]').length,
  });
";
