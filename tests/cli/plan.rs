//! `plan` before anything is stored, `show` after: what would have to happen to lose it.

use crate::harness::{Place, tanner};
use crate::json::{objects, summary};
use crate::stored::Stored;

#[test]
fn a_plan_says_what_a_shape_costs_and_survives_in_one_screen() {
    let run = tanner("plan 3GiB -k 10 -m 5 --stores 5 --disk-afr 1.5%").run().expect(0);
    run.out_has("any 10 of 15 blocks (every loss was tried)")
        .out_has("4.5 GiB for 3.0 GiB: 1.50 times")
        .out_has("any 5 blocks or fewer, 33 %")
        .out_has("any 1 may be lost")
        .out_has("of the 10 losses of 2 stores 10 are fatal")
        .out_has("5.0 XORs a byte")
        .out_has("as 10.0 blocks, 3.0 GiB")
        .out_has("within a year")
        // 15 blocks have so many losses of five; what was tried has more blocks.
        .out_has("(0 of 3003 tried)");
    assert!(run.out.lines().count() < 16, "{run:#?}");
    // Stores without blocks may fail as they like.
    tanner("plan 1TB --stores 4000 --disk-afr 2%").run().expect(0).out_has("probability 5.6e-14");
    // Ten percent: any two of 22 blocks.
    tanner("plan 1TB --overhead 10%")
        .run()
        .expect(0)
        .out_has("any 20 of 22")
        .out_has("any 2 blocks or fewer, 9 %");
}

#[test]
fn a_plan_chooses_what_survives_lost_stores_or_keeps_below_a_probability() {
    let chosen = |words: &str| {
        let objects = objects(&tanner(words).run().expect(0));
        let plan = summary(&objects).clone();
        (plan["data"].as_u64().unwrap(), plan["parity"].as_u64().unwrap(), plan)
    };
    let (data, parity, plan) = chosen("plan 1TB --stores 6 --survive 2 --json");
    assert_eq!((data, parity, &plan["stores"]["survivable"]), (4, 2, &2.into()));
    let (data, parity, plan) = chosen("plan 1TB --stores 50 --survive 25 --json");
    assert!(data == 24 && parity == 26 && plan["threshold"] == 25, "{plan}");
    let (_, loose, _) = chosen("plan --stores 12 --target-loss 1e-3 --disk-afr 1.5% --json");
    let (_, tight, plan) = chosen("plan --stores 12 --target-loss 1e-9 --disk-afr 1.5% --json");
    assert!(tight > loose && plan["stores"]["loss"]["per_year_ratio"].as_f64().unwrap() <= 1e-9, "{plan}");
}

#[test]
fn what_no_shape_can_do_is_refused_with_the_way_out() {
    for (words, named) in [
        ("plan --stores 3 --survive 3", "more stores"),
        ("plan --stores 2 --target-loss 1e-15 --disk-afr 5%", "more stores"),
        ("plan --survive 3", "--stores"),
        ("plan --stores 5 --target-loss 1e-9", "--disk-afr"),
        ("plan -k 0", "0+5"),
        ("plan --overhead 0%", "share"),
        ("plan 1 --disk-afr nan", "share"),
        ("plan 1 --disk-afr 101%", "100%"),
        ("plan 2PiB", "are the most"),
        ("plan 18446744073709551615 -k 4095 -m 1", "are the most"),
    ] {
        tanner(words).run().expect(2).err_has(named);
    }
}

/// "Estimated" has to be said where nothing else is known.
#[test]
fn a_plan_without_a_certificate_is_called_an_estimate() {
    let run = tanner("plan 1TB -k 60 -m 33").run().expect(0);
    run.out_has("an estimate for this shape")
        .out_has("by estimate at most")
        .out_has("of losses by lot fail (0 of ");
}

#[test]
fn show_says_which_stores_cannot_be_missed() {
    let stored = Stored::new(300_000, "-k 10 -m 5", 5);
    let show = stored.on("show").run().expect(0);
    show.out_has("any 1 of 5 stores may be lost")
        .out_has("10 of 10 losses of 2 stores would be fatal, such as ");
    // One more block on any store is gone.
    stored.without(&[0], || {
        let show = stored.on("show").run().expect(0);
        show.out_has("any 1 of 5 stores").out_has("any 4 blocks");
    });
    stored.without(&[0, 1, 2], || {
        stored
            .on("show")
            .run()
            .expect(0)
            .out_has("no store may be lost")
            .out_has("of 5 losses of 1 store would be");
    });
    let json = objects(&stored.on("show --json").run().expect(0));
    let beyond = &summary(&json)["beyond"];
    assert_eq!((&beyond["stores"], &beyond["losses"], &beyond["fatal"]), (&2.into(), &10.into(), &10.into()));
    assert_eq!(beyond["example"].as_array().unwrap().len(), 2);
}

/// A run that is repeated goes on where the one before stopped, and a file that was changed is not believed.
#[test]
fn certificates_are_continued_and_checked() {
    let place = Place::new();
    let file = place.path().join("certificates.csv");
    let certify = |words: &str| tanner(words).arg("--file").arg(&file);
    certify("certify --shift 7+4").run().expect(0).err_has("0 of 330 failed");
    certify("certify 11+11 --samples 300 --climbs 3").run().expect(0).err_has("11+11");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.lines().count() > 20 && text.contains(",sample,") && text.contains(",climb,"), "{text}");
    // All of it was done.
    certify("certify 11+11 --samples 300 --climbs 3").run().expect(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    certify("certify 11+11 --samples 400 --climbs 3").run().expect(0).err_has("of 400 failed");
    certify("certify --check 100").run().expect(0).err_has("0 of ");
    // A check of nothing must not look like one that found nothing wrong.
    certify("certify 5+3 --check 100").run().expect(2).err_has("nothing to check");
    tanner("certify --check 100 --file no.csv").run().expect(2).err_has("nothing to check");
    tanner("certify").run().expect(2);
    std::fs::write(&file, text.replacen(",all,", ",sample,", 1)).unwrap();
    certify("certify --check 100").run().expect(2).err_has("changed by other means");
}
