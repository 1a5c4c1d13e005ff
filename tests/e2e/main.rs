//! End-to-end tests: real images, booted under QEMU, read as stories.

mod debian_guest;
mod debian_images;
mod esp_files;
mod fixture;
mod neighbour;
mod odd_image;
mod releases;
mod state_files;
mod stories;
mod terminal;

use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let mut arguments = Arguments::from_args();
    // Two emulated processors a guest, on two real ones: more at once gain nothing.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let trials = stories::ALL
        .iter()
        .map(|(name, story)| {
            Trial::test(*name, move || {
                let begun = Instant::now();
                let told = story();
                // Where the suite's time goes.
                eprintln!("== {name}: {} s", begun.elapsed().as_secs());
                told.map_err(|error| {
                    // At once, too: the list at the end is lost when a run is cut off,
                    // and what comes after the first failure may be its consequence.
                    eprintln!("== {name} failed: {error:?}");
                    Failed::from(format!("{error:?}"))
                })
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
