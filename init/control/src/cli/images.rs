//! `orlop images`.

use super::failure::Outcome;
use super::output::{Format, show};
use super::table::{bytes, table};
use crate::client::Client;
use crate::types::ImageInfo;

pub(super) async fn run(client: &Client, format: Format) -> Outcome {
    show(format, &client.images().await?, |images| text(images))
}

pub(super) fn text(images: &[ImageInfo]) -> String {
    let rows = images
        .iter()
        .map(|image| {
            let id = image
                .id
                .trim_start_matches("sha256:")
                .chars()
                .take(12)
                .collect();
            let origin = if image.baked { "host image" } else { "loaded" };
            vec![
                image.reference.clone(),
                id,
                bytes(image.size),
                origin.to_owned(),
                image.used_by.join(", "),
            ]
        })
        .collect();
    table(&["IMAGE", "ID", "SIZE", "FROM", "UNITS"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_images() {
        let image = ImageInfo {
            reference: "localhost/demo:1".into(),
            id: format!("sha256:{}", "ab".repeat(32)),
            digest: String::new(),
            architecture: "amd64".into(),
            size: 3 << 20,
            created: None,
            baked: true,
            used_by: vec!["web".into()],
        };
        let expected = "\
IMAGE              ID             SIZE      FROM         UNITS
localhost/demo:1   abababababab   3.0 MiB   host image   web
";
        assert_eq!(text(&[image]), expected);
    }
}
