//! The images that units can use: baked into the host, and loaded.

use std::path::PathBuf;
use std::sync::Arc;

use orlop_control::types::{ApiError, ImageInfo};
use orlop_images::source::{Options, Source, host_architecture};
use orlop_images::store::{Store, StoredImage};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::durable::no_room;
use crate::paths::Paths;

/// Both stores, the loaded images first: a loaded image takes the place of a
/// baked one with the same name.
#[derive(Debug, Clone)]
pub struct Images {
    baked: Arc<Store>,
    loaded: Arc<Store>,
    spool: PathBuf,
    turns: Arc<Semaphore>,
}

/// The sole right to change which image a name means, and to delete images by
/// that.
#[derive(Debug)]
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Images {
    /// The host's stores.
    pub fn new(paths: &Paths) -> Images {
        let [baked, loaded] = paths.image_stores();
        Images {
            baked: Arc::new(Store::open(baked)),
            loaded: Arc::new(Store::open(loaded)),
            spool: paths.state().join("spool"),
            turns: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits for the turn to load images, one archive after the other. It lasts
    /// until the images that lost their name to those are deleted. That bounds
    /// the memory of loads, too.
    pub async fn turn(&self) -> Turn {
        // It is never closed.
        let permit = Arc::clone(&self.turns).acquire_owned().await.ok();
        Turn { _permit: permit }
    }

    /// The turn, if it is nobody's.
    pub fn turn_now(&self) -> Option<Turn> {
        let permit = Arc::clone(&self.turns).try_acquire_owned().ok()?;
        Some(Turn {
            _permit: Some(permit),
        })
    }

    /// Takes away what interrupted loads left.
    pub fn sweep(&self) -> Result<(), orlop_images::Error> {
        let _ = std::fs::remove_dir_all(&self.spool);
        self.loaded.sweep().map(|_| ())
    }

    /// Deletes loaded images that have no name left, except those that are
    /// `in_use` by their id. It may take long: not for the owner task.
    pub fn collect(&self, in_use: impl Fn(&str) -> bool) -> Result<(), orlop_images::Error> {
        self.loaded.collect(in_use).map(|_| ())
    }

    /// The image of that name, or why there is none.
    pub fn find(&self, reference: &str) -> std::io::Result<StoredImage> {
        let mut problem = None;
        for store in [&self.loaded, &self.baked] {
            match store.find(reference) {
                Ok(Some(image)) => return Ok(image),
                Ok(None) => {}
                Err(error) => problem = Some(error),
            }
        }
        Err(match problem {
            Some(error) => std::io::Error::other(format!("image {reference:?}: {error}")),
            None => std::io::Error::new(
                std::io::ErrorKind::NotFound,
                format!(
                    "image {reference:?} is not on this host; load it with `orlop load FILE`, \
                     or name one that `orlop images` lists"
                ),
            ),
        })
    }

    /// All of them. `used_by` names the units that use a reference.
    pub fn list(&self, used_by: impl Fn(&str) -> Vec<String>) -> Result<Vec<ImageInfo>, ApiError> {
        let mut images: Vec<ImageInfo> = Vec::new();
        for (store, baked) in [(&self.loaded, false), (&self.baked, true)] {
            let entries = store
                .list()
                .map_err(|error| ApiError::internal(error.to_string()))?;
            for entry in entries {
                if images
                    .iter()
                    .any(|image| image.reference == entry.reference)
                {
                    continue;
                }
                images.push(ImageInfo {
                    used_by: used_by(&entry.reference),
                    reference: entry.reference,
                    id: entry.id,
                    digest: entry.digest,
                    architecture: entry.architecture,
                    size: entry.size,
                    created: entry.created,
                    baked,
                });
            }
        }
        images.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(images)
    }

    /// Takes all images of an archive into the store. It takes long: not for
    /// the owner task. Returns their references.
    pub fn load(&self, archive: &std::path::Path) -> Result<Vec<String>, ApiError> {
        for dir in [&self.spool, self.loaded.dir()] {
            std::fs::create_dir_all(dir).map_err(|error| storage_error(no_room(&error), &error))?;
        }
        let options = Options {
            spool_dir: self.spool.clone(),
            architecture: host_architecture().to_owned(),
            ..Options::default()
        };
        let source = Source::open_with(archive, options).map_err(image_error)?;
        let mut loaded = Vec::new();
        for image in source.images() {
            let image = source
                .load(image.reference.as_deref())
                .map_err(image_error)?;
            let entry = self.loaded.add(&image).map_err(image_error)?;
            loaded.push(entry.reference);
        }
        if loaded.is_empty() {
            return Err(ApiError::invalid("the archive holds no image"));
        }
        Ok(loaded)
    }
}

fn storage_error(full: bool, error: &dyn std::error::Error) -> ApiError {
    match full {
        true => ApiError::no_space(format!(
            "no room for the image on the state partition: {error}"
        )),
        false => ApiError::internal(error.to_string()),
    }
}

fn image_error(error: orlop_images::Error) -> ApiError {
    match &error {
        orlop_images::Error::Io { .. } | orlop_images::Error::NoSpace { .. } => {
            storage_error(error.is_no_space(), &error)
        }
        _ => ApiError::new(422, "imageRejected", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_has_no_room_is_not_a_bad_one() {
        let errors = [
            orlop_images::Error::NoSpace {
                path: "/var/lib/orlop/images".into(),
                needed: 9000,
                free: 10,
            },
            orlop_images::Error::Io {
                what: "write a file".to_owned(),
                r#source: rustix::io::Errno::NOSPC.into(),
            },
        ];
        for error in errors.map(image_error) {
            assert_eq!((error.status, error.code.as_str()), (507, "noSpace"));
            assert!(error.message.contains("state partition"), "{error}");
            assert!(error.help.unwrap().contains("orlop rm"));
        }
    }

    #[tokio::test]
    async fn one_load_at_a_time_until_it_is_collected() {
        let root = tempfile::tempdir().unwrap();
        let images = Images::new(&Paths::below(root.path()));
        let first = images.turn_now().unwrap();
        assert!(images.clone().turn_now().is_none());
        let waiting = tokio::spawn({
            let images = images.clone();
            async move { images.turn().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        drop(waiting.await.unwrap());
        assert!(images.turn_now().is_some());
    }
}
